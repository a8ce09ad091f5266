"""The HTTP routes of the endpoint, and its error responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from actors.channels.pool import REPLICA_GONE, await_reply
from actors.serving.errors import ApiError, bad_request, internal, unavailable, unknown_model
from actors.serving.middleware import AccessMiddleware
from actors.serving.prometheus import exported_metrics
from actors.serving.request_history import HistoryPage
from actors.serving.request_runner import RequestRunner
from actors.serving.schema import CHAT_RESPONSES, ERRORS, openapi_schema
from actors.serving.service import RequestService
from actors.serving.spec import RequestSpec, read_chat_request

PAGE = Path(__file__).parent / "page"
PROGRESS_S = 1.0
"""Seconds between two progress chunks of a stream."""
POLL_S = 10.0
"""Seconds without an event after which an event stream sends a comment to keep it open."""
BODY_S = 30.0
SSE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def build_http_app(service: RequestService) -> AccessMiddleware:
    """Build the ASGI app of an ingress replica."""
    app = FastAPI(title="deepprune", docs_url=None, redoc_url=None)

    @app.post("/v1/chat/completions", **CHAT_RESPONSES)
    async def chat_completions(request: Request) -> Response:
        spec = await _read_spec(request)
        runner = service.start(spec, request.state.owner)
        request.state.log |= {"request_id": runner.request_id, "model": spec.model}
        headers = {"x-deepprune-request-id": runner.request_id}
        if spec.stream:
            await runner.wait_admitted()
            stream = _answer_events(runner)
            return StreamingResponse(stream, 200, headers | SSE, "text/event-stream")
        solution = await runner.solution()
        body = solution.completion.model_dump()
        return JSONResponse(body, headers=headers | solution.headers)

    async def _read_spec(request: Request) -> RequestSpec:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise ApiError(415, f"Content-Type is {kind!r}; send application/json.")
        body = await _read_body(request, service.config.http.max_body_bytes)
        return read_chat_request(body, service.offers)

    @app.get("/v1/models", responses=ERRORS)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name) for name in service.models]}

    @app.get("/v1/models/{name:path}", responses=ERRORS)
    async def model(name: str) -> dict[str, Any]:
        if name not in service.models:
            raise unknown_model(name, list(service.models))
        return _model(name)

    def _model(name: str) -> dict[str, Any]:
        offer = service.offers[name]
        return {
            "id": name,
            "object": "model",
            "created": service.created,
            "owned_by": "deepprune",
            "deepprune": {
                "policies": list(offer.policies),
                "policy": offer.default_policy,
                "n": min(offer.policies[offer.default_policy].num_traces, offer.ceilings.n),
                "ceilings": offer.ceilings.model_dump() | {"max_tokens": offer.sampling.max_tokens},
            },
        }

    @app.get("/v1/deepprune/requests", responses=ERRORS)
    async def requests(request: Request) -> dict[str, Any]:
        return {"data": await _call(service.history.list, request.state.owner)}

    @app.get("/v1/deepprune/requests/{request_id}/events", responses=ERRORS)
    async def events(request: Request, request_id: str) -> Response:
        last = request.headers.get("last-event-id", "")
        start = int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 10 else 0
        page = await _read_page(request_id, request.state.owner, start, 0)
        stream = _history_events(page, request_id, request.state.owner, start)
        return StreamingResponse(stream, 200, SSE, "text/event-stream")

    async def _read_page(request_id: str, owner: str, start: int, version: int) -> HistoryPage:
        read = service.history.read
        page: HistoryPage | None = await _call(read, request_id, owner, start, version, POLL_S)
        if page is None:
            message = f"There is no request {request_id!r}, or it is too long ago."
            raise ApiError(404, message, param="request_id", code="not_found")
        return page

    async def _history_events(
        page: HistoryPage, request_id: str, owner: str, start: int
    ) -> AsyncGenerator[str]:
        while True:
            for index, event in enumerate(page.events, start):
                yield f"id: {index}\ndata: {event}\n\n"
            start += len(page.events)
            if page.tokens:
                yield _sse({"type": "progress", "tokens": page.tokens})
            if page.done:
                return
            version = page.version
            try:
                page = await _read_page(request_id, owner, start, version)
            except ApiError as error:
                yield _sse(error.body)
                return
            if page.version == version:
                yield ": still here\n\n"

    @app.get("/healthz", responses={503: {"description": "A model has no generator yet."}})
    async def healthz() -> JSONResponse:
        healthy = all(service.num_generators.values())
        body = {"status": "ok" if healthy else "starting", "generators": service.num_generators}
        return JSONResponse(body, 200 if healthy else 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=ERRORS)
    async def metrics() -> str:
        return await exported_metrics()

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        request.state.log["error"] = error.detail.code or error.detail.type
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        response = ApiError(
            error.status_code,
            f"{request.method} {request.url.path}: {error.detail}.",
            code="not_found" if error.status_code == 404 else None,
            headers=dict(error.headers or {}),
        )
        return await api_error(request, response)

    @app.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> JSONResponse:
        return await api_error(request, internal())

    app.openapi = lambda: openapi_schema(app, list(service.models))  # type: ignore[method-assign]
    files = StaticFiles(directory=PAGE)

    # Routes, not a mount: a mount at / would also answer paths requested with the wrong method.
    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    @app.api_route("/{file}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request, file: str = "index.html") -> Response:
        return await files.get_response(file, request.scope)

    return AccessMiddleware(app, service.keys, service.log, service.metrics.answered)


async def _read_body(request: Request, limit: int) -> bytes:
    """Read the whole body.

    Raises:
        ApiError: it is longer than `limit` bytes, 413; incomplete after `BODY_S`, 408; empty, 400.
    """
    too_long = ApiError(413, f"The body is longer than {limit} bytes.", code="body_too_large")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_long
    except TimeoutError:
        raise ApiError(408, f"The body did not come within {BODY_S:.0f} s.") from None
    if not body:
        raise bad_request("The body is empty; send a JSON object.", code="invalid_json")
    return bytes(body)


async def _answer_events(runner: RequestRunner) -> AsyncGenerator[str]:
    """Yield progress while traces run, the answer, and `[DONE]`. Closing stops the request."""
    try:
        yield _sse(runner.chunk({"role": "assistant", "content": ""}))
        while not (await asyncio.wait([runner.task], timeout=PROGRESS_S))[0]:
            yield _sse(runner.progress())
        try:
            for chunk in (await runner.solution()).chunks():
                yield _sse(chunk)
        except ApiError as error:
            yield _sse(error.body)
        yield "data: [DONE]\n\n"
    finally:
        runner.stop("disconnected")


async def _call(method: Any, *arguments: Any) -> Any:
    """Call a method of the request history.

    Raises:
        ApiError: it is restarting, 503.
    """
    try:
        return await await_reply(method.remote(*arguments))
    except REPLICA_GONE:
        raise unavailable("The request history is restarting.") from None


def _sse(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
