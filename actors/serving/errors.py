"""Error responses in the format of OpenAI's API."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
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


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is refused."},
    "5XX": {"model": ErrorBody, "description": "The server could not serve it."},
}
"""The error responses in the OpenAPI schema of a route."""


class ApiError(HTTPException):
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
        headers = dict(headers or {})
        if retry_after_s is not None:
            headers["Retry-After"] = str(retry_after_s)
        self.status = status
        detail = ErrorDetail(message=message, type=type, param=param, code=code)
        super().__init__(status, detail, headers)
        self.detail: ErrorDetail = detail  # type: ignore[assignment]  # a text in Starlette's

    def __str__(self) -> str:
        return self.detail.message

    @property
    def body(self) -> dict[str, Any]:
        """The body as JSON."""
        return ErrorBody(error=self.detail).model_dump()


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request is wrong; `code` is `invalid_value` where none is given."""
    return ApiError(400, message, param=param, code=code or "invalid_value")


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
