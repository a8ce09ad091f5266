"""`/v1/chat/completions` and `/v1/models`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from actors.serving.access import Owner
from actors.serving.chat import ChatRequest
from actors.serving.errors import ERRORS, ApiError, unknown_model
from actors.serving.request_runner import RequestRunner
from actors.serving.responses import Completion
from actors.serving.service import RequestService, Service
from actors.serving.spec import read_chat_request

PROGRESS_S = 1.0
"""Seconds between two progress chunks of a stream."""
SSE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1", responses=ERRORS)


def _json_only(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise ApiError(415, f"Content-Type is {kind!r}; send application/json.")


@router.post(
    "/chat/completions",
    dependencies=[Depends(_json_only)],
    response_model=Completion,
    responses={
        200: {
            "description": "The answer; with `stream`, server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def chat_completions(
    chat: ChatRequest, request: Request, service: Service, owner: Owner
) -> Response:
    """Answer by a vote over many traces."""
    spec = read_chat_request(chat, service.offers)
    runner = service.start(spec, owner)
    request.state.log |= {"request_id": runner.request_id, "model": spec.model}
    headers = {"x-deepprune-request-id": runner.request_id}
    if spec.stream:
        await runner.wait_admitted()
        return EventSourceResponse(_answer_events(runner), headers=headers | SSE)
    solution = await runner.solution()
    body = solution.completion.model_dump()
    return JSONResponse(body, headers=headers | solution.headers)


async def _answer_events(runner: RequestRunner) -> AsyncGenerator[bytes]:
    """Yield progress while traces run, the answer, and `[DONE]`. Closing stops the request."""
    try:
        yield _event(runner.chunk({"role": "assistant", "content": ""}))
        while not (await asyncio.wait([runner.task], timeout=PROGRESS_S))[0]:
            yield _event(runner.progress())
        try:
            for chunk in (await runner.solution()).chunks():
                yield _event(chunk)
        except ApiError as error:
            yield _event(error.body)
        yield format_sse_event(data_str="[DONE]")
    finally:
        runner.stop("disconnected")


def _event(data: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(data))


@router.get("/models")
async def models(service: Service) -> dict[str, Any]:
    """List the models."""
    return {"object": "list", "data": [_model(service, name) for name in service.models]}


@router.get("/models/{name:path}")
async def model(name: str, service: Service) -> dict[str, Any]:
    """Describe a model."""
    if name not in service.models:
        raise unknown_model(name, list(service.models))
    return _model(service, name)


def _model(service: RequestService, name: str) -> dict[str, Any]:
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
