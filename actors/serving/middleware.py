"""ASGI middleware: check the API key, log the request, count it, set security headers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from actors.serving.errors import ApiError
from actors.serving.keys import ANONYMOUS, Keyring
from actors.serving.request_log import RequestLog
from deepprune.serve_config import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

GUARDED = ("/v1/", "/metrics")
"""Paths that need a key; the page and /healthz do not."""
UNLOGGED = ("/healthz", "/metrics")
CLIENT_GONE = 499
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
}


class AccessMiddleware:
    """Checks the key and logs a line for each request.

    Without keys, only requests from this machine are allowed. `request.state.owner` is the client's
    name; routes add fields of the log line to `request.state.log`.
    """

    def __init__(
        self, app: ASGIApp, keys: Keyring, log: RequestLog, answered: Callable[[str, int], None]
    ) -> None:
        self._app = app
        self._keys = keys
        self._log = log
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = CLIENT_GONE
        log: dict[str, Any] = {}

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        try:
            error, owner = self._authorize(scope)
            log["key"] = owner
            scope["state"] = {"owner": owner, "log": log}
            if error is not None:
                log["error"] = error.detail.code
                answer = JSONResponse(error.body, error.status, error.headers)
                await answer(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        finally:
            self._answered(_path_tag(scope["path"]), status)
            if scope["path"] not in UNLOGGED:
                self._log.write(
                    "request",
                    x_request_id=Headers(scope=scope).get("x-request-id"),
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.monotonic() - started, 3),
                    **log,
                )

    def _authorize(self, scope: Scope) -> tuple[ApiError | None, str]:
        owner = self._keys.owner(Headers(scope=scope).get("authorization"))
        if not self._keys and not _is_local(scope):
            message = "This server has no API keys, and serves the machine it runs on only."
            return ApiError(403, message, code="forbidden"), ANONYMOUS
        if owner is None and scope["path"].startswith(GUARDED):
            message = "The API key is missing or wrong; send it as `Authorization: Bearer KEY`."
            headers = {"WWW-Authenticate": "Bearer"}
            return ApiError(401, message, code="invalid_api_key", headers=headers), ANONYMOUS
        return None, owner or ANONYMOUS


def _is_local(scope: Scope) -> bool:
    """Whether the client is on this machine, and is no foreign site's page in a browser on it."""
    headers = Headers(scope=scope)
    addressed = [f"//{headers.get('host', '')}", headers.get("origin") or "//localhost"]
    hosts = [(scope.get("client") or ("",))[0], *map(_host, addressed)]
    return all(map(is_loopback, hosts))


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _path_tag(path: str) -> str:
    """Map the path to one of a few values, so that a metric's tag has bounded cardinality."""
    for family in ("/v1/chat/completions", "/v1/models", "/v1/deepprune/requests"):
        if path == family or path.startswith(f"{family}/"):
            return family
    return path if path in ("/", *UNLOGGED) else "other"
