"""The endpoint's HTTP: routes, the door in front of them, and the shape of its errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from actors.driver.serve_client import REPLICA_GONE, answered
from actors.serving.errors import ApiError, bad_request, internal, unavailable, unknown_model
from actors.serving.middleware import Door
from actors.serving.prometheus import exported_metrics
from actors.serving.request_history import Page
from actors.serving.request_runner import Solving, solution_of
from actors.serving.schema import CHAT_RESPONSES, ERRORS, openapi_schema
from actors.serving.spec import Spec, read_chat_request

if TYPE_CHECKING:
    from actors.serving.ingress import Ingress

PAGE = Path(__file__).parent / "page"
PROGRESS_S = 1.0
"""Seconds between two chunks of progress in a stream."""
POLL_S = 10.0
"""Seconds after which a stream of events without news says that it is alive."""
BODY_S = 30.0
SSE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def build_http(ingress: Ingress) -> Door:
    """The ASGI app of an ingress replica."""
    app = FastAPI(title="deepprune", docs_url=None, redoc_url=None)

    @app.post("/v1/chat/completions", **CHAT_RESPONSES)
    async def chat_completions(request: Request) -> Response:
        spec = await _read_spec(request)
        solving = ingress.solve(spec, request.state.owner)
        request.state.log |= {"request_id": solving.request_id, "model": spec.model}
        headers = {"x-deepprune-request-id": solving.request_id}
        if spec.stream:
            await _admitted(solving)
            stream = _answer_events(solving)
            return StreamingResponse(stream, 200, headers | SSE, "text/event-stream")
        solution = await solution_of(solving)
        body = solution.completion.model_dump()
        return JSONResponse(body, headers=headers | solution.headers)

    async def _read_spec(request: Request) -> Spec:
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise ApiError(415, f"Content-Type is {kind!r}; send application/json.")
        body = await _body(request, ingress.config.http.max_body_bytes)
        return read_chat_request(body, ingress.offers)

    @app.get("/v1/models", responses=ERRORS)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name) for name in ingress.models]}

    @app.get("/v1/models/{name:path}", responses=ERRORS)
    async def model(name: str) -> dict[str, Any]:
        if name not in ingress.models:
            raise unknown_model(name, list(ingress.models))
        return _model(name)

    def _model(name: str) -> dict[str, Any]:
        offer = ingress.offers[name]
        return {
            "id": name,
            "object": "model",
            "created": ingress.created,
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
        try:
            return {"data": await answered(ingress.journal.list.remote(request.state.owner))}
        except REPLICA_GONE:
            raise unavailable("The journal is starting again.") from None

    @app.get("/v1/deepprune/requests/{request_id}/events", responses=ERRORS)
    async def events(request: Request, request_id: str) -> Response:
        last = request.headers.get("last-event-id", "")
        start = int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 10 else 0
        page = await _page(request_id, request.state.owner, start, 0)
        stream = _journal_events(page, request_id, request.state.owner, start)
        return StreamingResponse(stream, 200, SSE, "text/event-stream")

    async def _page(request_id: str, owner: str, start: int, seen: int) -> Page:
        read = ingress.journal.read.remote
        try:
            call = read(request_id, owner, start, seen, POLL_S)
            page: Page | None = await answered(call)
        except REPLICA_GONE:
            raise unavailable("The journal is starting again.") from None
        if page is None:
            message = f"There is no request {request_id!r}, or it is too long ago."
            raise ApiError(404, message, param="request_id", code="not_found")
        return page

    async def _journal_events(
        page: Page, request_id: str, owner: str, start: int
    ) -> AsyncGenerator[str]:
        while True:
            for index, event in enumerate(page.events, start):
                yield f"id: {index}\ndata: {event}\n\n"
            start += len(page.events)
            if page.tokens:
                yield _sse({"type": "progress", "tokens": page.tokens})
            if page.done:
                return
            seen = page.version
            try:
                page = await _page(request_id, owner, start, seen)
            except ApiError as error:
                yield _sse(error.body)
                return
            if page.version == seen:
                yield ": still here\n\n"

    @app.get("/healthz", responses={503: {"description": "A model has no generator yet."}})
    async def healthz() -> JSONResponse:
        healthy = all(ingress.num_generators.values())
        body = {"status": "ok" if healthy else "starting", "generators": ingress.num_generators}
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
        said = ApiError(
            error.status_code,
            f"{request.method} {request.url.path}: {error.detail}.",
            code="not_found" if error.status_code == 404 else None,
            headers=dict(error.headers or {}),
        )
        return await api_error(request, said)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        return await api_error(request, internal())

    app.openapi = lambda: openapi_schema(app, list(ingress.models))  # type: ignore[method-assign]
    files = StaticFiles(directory=PAGE)

    # Routes, not a mount: a mount at / would answer for every path asked with the wrong method.
    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    @app.api_route("/{file}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request, file: str = "index.html") -> Response:
        return await files.get_response(file, request.scope)

    return Door(app, ingress.keys, ingress.log, ingress.answered)


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, unless it is too long.

    Raises:
        ApiError: it is, 413; or it does not come, 408.
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


async def _admitted(solving: Solving) -> None:
    try:
        await asyncio.shield(solving.admitted)
    except asyncio.CancelledError:
        solving.stop("disconnected")
        raise


async def _answer_events(solving: Solving) -> AsyncGenerator[str]:
    """Progress while traces run, then the answer, then `[DONE]`. Closing it stops the work."""
    try:
        yield _sse(solving.chunk({"role": "assistant", "content": ""}))
        while not (await asyncio.wait([solving.task], timeout=PROGRESS_S))[0]:
            yield _sse(solving.progress())
        try:
            for chunk in (await solution_of(solving)).chunks():
                yield _sse(chunk)
        except ApiError as error:
            yield _sse(error.body)
        yield "data: [DONE]\n\n"
    finally:
        solving.stop("disconnected")


def _sse(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
