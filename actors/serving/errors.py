"""Error responses in the format of OpenAI's API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """Why a request failed."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


class ApiError(Exception):
    """An error response. `retry_after_s` sets the Retry-After header."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(message=message, type=type, param=param, code=code)
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    @property
    def body(self) -> dict[str, Any]:
        """The body as JSON."""
        return ErrorBody(error=self.detail).model_dump()


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request is wrong."""
    return ApiError(400, message, param=param, code=code)


def unknown_model(name: str, known: list[str]) -> ApiError:
    """404: no model of that name is served."""
    message = f"The model {name!r} is not served here; there is {', '.join(known)}."
    return ApiError(404, message, param="model", code="model_not_found")


def overloaded(message: str, retry_after_s: int) -> ApiError:
    """429: the queue is full."""
    return ApiError(
        429,
        message,
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after_s=retry_after_s,
    )


def unavailable(message: str) -> ApiError:
    """503: the engines cannot serve the request now."""
    return ApiError(503, message, type="server_error", code="engine_unavailable", retry_after_s=10)


def internal() -> ApiError:
    """500: a defect; the log has the reason under the request's id."""
    message = "The server failed; its log has the reason under this request's x-request-id."
    return ApiError(500, message, type="server_error", code="internal_error")
