"""What a generator makes of an OpenAI-compatible server's replies, garbled ones included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actors.generators.endpoint import EndpointGenerators
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from deepprune.config import EndpointGeneratorConfig, SamplingConfig
from deepprune.errors import UserError
from tests.support.free_port import free_port

SAMPLING = SamplingConfig(temperature=1.0, top_p=1.0, max_tokens=300)


async def collect(generators: EndpointGenerators, trace: TraceRequest) -> list[TraceUpdate]:
    return [update async for update in generators.stream(trace)]


@asynccontextmanager
async def canned(
    body: str, status: int = 200, content_type: str = "text/event-stream"
) -> AsyncIterator[EndpointGenerators]:
    """Generators over a server that gives one answer, whatever it is asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-type: {content_type}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        config = {"kind": "endpoint", "url": url, "model": "m"}
        yield EndpointGenerators(EndpointGeneratorConfig.model_validate(config))


def events(*deltas: tuple[str, str | None]) -> str:
    """A stream of chunks that count no tokens."""
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}
        for text, finish_reason in deltas
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("status", "content_type", "body", "said"),
    [
        (200, "text/html", "<html>hello</html>", "list of models"),
        (200, "application/json", '{"object": "list", "data": null}', "list of models"),
        (200, "application/json", '{"da', "list of models"),
        (401, "application/json", "{}", "refused the API key"),
        (403, "application/json", "{}", "refused the API key"),
        (500, "application/json", "{}", "does not answer"),
    ],
)
async def test_a_check_says_what_is_wrong_in_one_line(status, content_type, body, said):
    async with canned(body, status, content_type) as generators:
        with pytest.raises(UserError, match=said) as error:
            await generators.check()
    assert "\n" not in str(error.value)


async def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sekret\n")
    url = f"http://127.0.0.1:{free_port()}/v1"
    config = EndpointGeneratorConfig(kind="endpoint", url=url, model="m", api_key_env="SOME_KEY")
    with pytest.raises(UserError, match="SOME_KEY") as error:
        await EndpointGenerators(config).check()
    assert "sekret" not in str(error.value)


async def test_a_server_that_does_not_count_stops_at_the_checkpoint_too():
    trace = TraceRequest("r", "p", SAMPLING, seed=1, checkpoint="tokens:4", pause=True)
    async with canned(events(("two tokens", None), (" more", None), ("", "length"))) as generators:
        updates = await collect(generators, trace)
    assert updates[-1].num_tokens == 4
    assert updates[-1].prefix_chars == len("two tokens more")
    assert updates[-1].finish_reason is None


async def test_a_garbled_stream_is_gone():
    trace = TraceRequest("r", "p", SAMPLING, seed=1)
    for body in ("data: {no\n\n", events(("cut off", None))):
        async with canned(body) as generators:
            with pytest.raises(EngineGone):
                await collect(generators, trace)


async def test_a_trace_with_no_budget_left_has_ended():
    trace = TraceRequest("r", "p", SAMPLING, seed=1, prefix_text="x", prefix_num_tokens=300)
    async with canned("", 400) as generators:
        (update,) = await collect(generators, trace)
    assert (update.text, update.num_tokens, update.finish_reason) == ("", 300, "length")
