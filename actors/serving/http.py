"""The ASGI app of an ingress replica: its routes, who may call them, and its error responses."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from actors.serving import chat_routes, request_routes
from actors.serving.access import Access
from actors.serving.errors import ERRORS, ApiError, bad_request, internal
from actors.serving.middleware import BodyLimitMiddleware, LogMiddleware
from actors.serving.prometheus import exported_metrics
from actors.serving.service import RequestService, Service
from actors.serving.validation import explained

PAGE = StaticFiles(directory=Path(__file__).parent / "page")

monitoring = APIRouter()
public = APIRouter()
"""Routes that need no key: all others do."""


@monitoring.get("/metrics", response_class=PlainTextResponse, responses=ERRORS)
async def metrics() -> str:
    """Export the metrics of the cluster for Prometheus."""
    return await exported_metrics()


@public.get("/healthz", responses={503: {"description": "A model has no generator yet."}})
async def healthz(service: Service) -> JSONResponse:
    """Say whether every model has a generator."""
    healthy = all(service.num_generators.values())
    body = {"status": "ok" if healthy else "starting", "generators": service.num_generators}
    return JSONResponse(body, 200 if healthy else 503)


# Routes, not a mount: a mount at / would also answer paths requested with the wrong method.
@public.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
@public.api_route("/{file}", methods=["GET", "HEAD"], include_in_schema=False)
async def page(request: Request, file: str = "index.html") -> Response:
    """Serve the live view."""
    return await PAGE.get_response(file, request.scope)


def build_http_app(service: RequestService) -> LogMiddleware:
    """Build the ASGI app of an ingress replica."""
    access = Access(service.keys)
    app = FastAPI(
        title="deepprune",
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        dependencies=[Depends(access.check_place)],
    )
    app.state.service = service
    for router in (chat_routes.router, request_routes.router, monitoring):
        app.include_router(router, dependencies=[Depends(access.check_key)])
    app.include_router(public)
    app.add_middleware(BodyLimitMiddleware, max_bytes=service.config.http.max_body_bytes)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _failed)
    app.add_exception_handler(Exception, _defect)
    return LogMiddleware(app, service.log, service.metrics.answered)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Respond to an `ApiError`, or to an error of FastAPI's own."""
    assert isinstance(error, HTTPException)
    if not isinstance(error, ApiError):
        error = _translated(request, error)
    request.state.log["error"] = error.detail.code or error.detail.type
    return JSONResponse(error.body, error.status, error.headers)


def _translated(request: Request, error: HTTPException) -> ApiError:
    if error.status_code == 400:  # raised where FastAPI reads the body
        return bad_request("The body is not valid JSON.", code="invalid_json")
    return ApiError(
        error.status_code,
        f"{request.method} {request.url.path}: {error.detail}.",
        code="not_found" if error.status_code == 404 else None,
        headers=dict(error.headers or {}),
    )


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return await _failed(request, explained(error.errors()))


async def _defect(request: Request, error: Exception) -> JSONResponse:
    return await _failed(request, internal())
