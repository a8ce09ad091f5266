"""ASGI middlewares: log and count each request and set security headers; bound its body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders

from actors.serving.errors import ApiError
from actors.serving.request_log import RequestLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNLOGGED = ("/healthz", "/metrics")
CLIENT_GONE = 499
BODY_S = 30.0
"""Seconds that a client may take to send a body."""
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
}


class LogMiddleware:
    """Logs a line for each request, to which routes add fields in `request.state.log`."""

    def __init__(self, app: ASGIApp, log: RequestLog, answered: Callable[[str, int], None]) -> None:
        self.app = app
        self._log = log
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = CLIENT_GONE
        log: dict[str, Any] = {}
        scope["state"] = {"log": log}
        path = scope["path"].removeprefix(scope.get("root_path", ""))

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self._answered(_path_tag(path), status)
            if path not in UNLOGGED:
                self._log.write(
                    "request",
                    x_request_id=Headers(scope=scope).get("x-request-id"),
                    method=scope["method"],
                    path=path,
                    status=status,
                    seconds=round(time.monotonic() - started, 3),
                    **log,
                )


class BodyLimitMiddleware:
    """Refuses bodies that are longer than `max_bytes`, 413, or incomplete after `BODY_S`, 408."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Whoever reads the body gets the error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + BODY_S
        declared = Headers(scope=scope).get("content-length", "0")
        too_long = declared.isdecimal() and float(declared) > self._max_bytes
        num_bytes, complete = 0, False

        async def receive_within_limit() -> Message:
            nonlocal num_bytes, complete
            if complete:
                return await receive()
            if not too_long:
                try:
                    async with asyncio.timeout_at(until):
                        message = await receive()
                except TimeoutError:
                    raise ApiError(408, f"The body did not come within {BODY_S:.0f} s.") from None
                num_bytes += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if num_bytes <= self._max_bytes:
                    return message
            raise ApiError(
                413, f"The body is longer than {self._max_bytes} bytes.", code="body_too_large"
            )

        await self.app(scope, receive_within_limit, send)


def _path_tag(path: str) -> str:
    """Map the path to one of a few values, so that a metric's tag has bounded cardinality."""
    for family in ("/v1/chat/completions", "/v1/models", "/v1/deepprune/requests"):
        if path == family or path.startswith(f"{family}/"):
            return family
    return path if path in ("/", *UNLOGGED) else "other"
