"""`/v1/deepprune/requests`: the requests of a key, and their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from actors.channels.pool import REPLICA_GONE, await_reply
from actors.serving.access import Owner
from actors.serving.errors import ERRORS, ApiError, unavailable
from actors.serving.request_history import HistoryPage
from actors.serving.service import HISTORY_S, RequestService, Service

POLL_S = 10.0
"""Seconds after which a read of the history without news is repeated."""


UNKNOWN_S = 2 * HISTORY_S
"""Seconds after which the history knows each request that runs on another ingress replica."""


class CancelledRequest(BaseModel):
    """The response to a cancel; `status` is that of the request if it had ended before."""

    id: str
    object: Literal["deepprune.request"] = "deepprune.request"
    status: str


router = APIRouter(prefix="/v1/deepprune/requests", responses=ERRORS)


@router.get("")
async def requests(service: Service, owner: Owner) -> dict[str, Any]:
    """List the requests of the caller's key, newest first."""
    return {"data": await _call(service.history.list, owner)}


@router.delete("/{request_id}")
async def cancel(request_id: str, service: Service, owner: Owner) -> CancelledRequest:
    """Cancel a request: whoever waits for its answer gets the vote as it stands."""
    for patience_s in (0.0, UNKNOWN_S):
        await asyncio.sleep(patience_s)
        if service.cancel(request_id, owner):
            return CancelledRequest(id=request_id, status="cancelling")
        summary = await _call(service.history.cancel, request_id, owner)
        if summary is not None:
            status = summary["status"]
            going_on = status in ("queued", "running")
            return CancelledRequest(id=request_id, status="cancelling" if going_on else status)
    raise _unknown(request_id)


def _start(last_event_id: Annotated[str | None, Header()] = None) -> int:
    """The index of the first event to send."""
    last = last_event_id or ""
    return int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 10 else 0


Start = Annotated[int, Depends(_start)]


async def _place(service: Service, owner: Owner) -> AsyncGenerator[None]:
    with service.event_streams.place(owner):
        yield


async def _first_page(request_id: str, service: Service, owner: Owner, start: Start) -> HistoryPage:
    return await _read_page(service, request_id, owner, start, 0)


@router.get(
    "/{request_id}/events", response_class=EventSourceResponse, dependencies=[Depends(_place)]
)
async def events(
    request_id: str,
    service: Service,
    owner: Owner,
    start: Start,
    page: Annotated[HistoryPage, Depends(_first_page)],
) -> AsyncGenerator[ServerSentEvent]:
    """Stream the events of a request from its start, or from after `Last-Event-ID`."""
    while True:
        for index, event in enumerate(page.events, start):
            yield ServerSentEvent(id=str(index), raw_data=event)
        start += len(page.events)
        if page.tokens:
            yield ServerSentEvent(data={"type": "progress", "tokens": page.tokens})
        if page.done:
            return
        try:
            page = await _read_page(service, request_id, owner, start, page.version)
        except ApiError as error:
            yield ServerSentEvent(data=error.body)
            return


async def _read_page(
    service: RequestService, request_id: str, owner: str, start: int, version: int
) -> HistoryPage:
    read = service.history.read
    page: HistoryPage | None = await _call(read, request_id, owner, start, version, POLL_S)
    if page is None:
        raise _unknown(request_id)
    return page


def _unknown(request_id: str) -> ApiError:
    message = f"There is no request {request_id!r}, or it is too long ago."
    return ApiError(404, message, param="request_id", code="not_found")


async def _call(method: Any, *arguments: Any) -> Any:
    """Call a method of the request history.

    Raises:
        ApiError: it is restarting, 503.
    """
    try:
        return await await_reply(method.remote(*arguments))
    except REPLICA_GONE:
        raise unavailable("The request history is restarting.") from None
