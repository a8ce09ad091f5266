"""What is asked of an endpoint, and what its rarer answers mean: a server that says one thing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from actors.generators.endpoint import EndpointGenerators
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from deepprune.config import EndpointGeneratorConfig, SamplingConfig
from deepprune.errors import UserError
from deepprune.traces import PromptOptions

TRACE = TraceRequest("r", "What is 1 + 1?", SamplingConfig(top_k=20, max_tokens=10), seed=7)


@dataclass
class Script:
    """Gives each request the next of `answers`, and the last one to all others."""

    answers: list[str]
    status: int = 200
    hang: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (length,) = (
            int(line.split(":")[1])
            for line in head.lower().splitlines()
            if line.startswith("content-length")
        )
        path = head.split()[1]
        self.asked.append((path, json.loads(await reader.readexactly(length))))
        self.arrived.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        writer.write(f"HTTP/1.1 {self.status} -\r\nconnection: close\r\n\r\n{answer}".encode())
        await writer.drain()
        if self.hang:
            await reader.read()  # until the client leaves
        self.closed.set()
        writer.close()


@asynccontextmanager
async def endpoint(
    script: Script, stall_s: float | None = None, **changes: Any
) -> AsyncIterator[EndpointGenerators]:
    listening = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        # On a slow machine, a second between two chunks would be worth an update of its own.
        changes = {"progress_s": 60, **changes}
        config = EndpointGeneratorConfig(kind="endpoint", url=url, model="m", **changes)
        yield EndpointGenerators(config, stall_s)


def event(choice: dict[str, Any], **more: Any) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0} | choice]} | more)}\n\n"


def said(text: str | list[dict[str, Any]], finish_reason: str | None = None, **more: Any) -> str:
    return event({"delta": {"content": text}, "finish_reason": finish_reason} | more)


async def collect(generators: EndpointGenerators, request: TraceRequest) -> list[TraceUpdate]:
    return [update async for update in generators.stream(request)]


async def test_the_chat_template_gets_its_arguments():
    script = Script([said("2", "stop")])
    arguments = {"reasoning_effort": "high", "enable_thinking": True}
    async with endpoint(script, chat_template_kwargs=arguments) as generators:
        await collect(generators, TRACE)
    ((_, body),) = script.asked
    assert body["chat_template_kwargs"] == arguments
    assert body["reasoning_effort"] == "high", "for servers without templates"


async def test_what_a_request_asks_of_the_prompt_and_the_answer_is_passed_on():
    tools = json.dumps([{"type": "function", "function": {"name": "add"}}])
    options = PromptOptions(tools, (("enable_thinking", False),), "low")
    sampling = SamplingConfig(json_schema='{"type": "object"}')
    call = {"index": 0, "id": "c", "function": {"name": "add", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    answer = (
        said("Let me see.")
        + event({"delta": {"tool_calls": [call]}, "finish_reason": None})
        + event({"delta": {"tool_calls": [rest]}, "finish_reason": "tool_calls"})
    )
    script = Script([answer])
    async with endpoint(script) as generators:
        request = replace(TRACE, prompt_options=options, sampling=sampling)
        (update,) = await collect(generators, request)
    asked = script.asked[0][1]
    assert asked["tools"] == json.loads(tools)
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked["reasoning_effort"] == "low"
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert update.finish_reason == "stop" and update.said_beside_calls == "Let me see."
    (called,) = json.loads(update.tool_calls)
    assert called["function"] == {"name": "add", "arguments": '{"a": 1}'}


async def test_a_request_is_one_seeded_stream():
    script = Script([said("2", "stop")])
    async with endpoint(script) as generators:
        await collect(generators, TRACE)
    ((path, body),) = script.asked
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "What is 1 + 1?"}]
    assert (body["seed"], body["max_tokens"], body["top_k"], body["stream"]) == (7, 10, 20, True)


async def test_a_trace_is_resumed_from_its_tokens_where_they_are_known():
    revealed = event({"delta": {"content": ""}}, prompt_token_ids=[1, 2, 3])
    first = revealed + said("a", token_ids=[4]) + said("b", "length", token_ids=[5])
    rest = event({"text": "c", "finish_reason": "stop", "token_ids": [6]})
    script = Script([first, rest])
    async with endpoint(script) as generators:
        ask = replace(TRACE, checkpoint="tokens:2", pause=True)
        (paused,) = await collect(generators, ask)
        ask = replace(
            TRACE, prefix_text=paused.text, prefix_token_ids=paused.token_ids, prefix_num_tokens=2
        )
        (resumed,) = await collect(generators, ask)
    assert (paused.text, paused.token_ids, paused.prefix_chars) == ("ab", (4, 5), 2)
    assert (resumed.text, resumed.token_ids, resumed.num_tokens) == ("c", (6,), 3)
    path, body = script.asked[1]
    assert path == "/v1/completions"
    assert (body["prompt"], body["max_tokens"]) == ([1, 2, 3, 4, 5], 8)


async def test_a_trace_is_resumed_from_its_text_elsewhere():
    script = Script([said("c", "stop")])
    async with endpoint(script) as generators:
        await collect(generators, replace(TRACE, prefix_text="ab", prefix_num_tokens=2))
    ((path, body),) = script.asked
    assert path == "/v1/chat/completions"
    assert body["messages"][-1] == {"role": "assistant", "content": "ab"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False
    assert body["max_tokens"] == 8


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_a_thought_is_part_of_the_trace(name):
    script = Script([event({"delta": {name: "So. "}}) + said("2", "stop")])
    async with endpoint(script) as generators:
        (update,) = await collect(generators, TRACE)
    assert (update.text, update.num_tokens) == ("So. </think>\n\n2", 2)


async def test_a_thought_that_was_ended_before_a_pause_is_not_ended_again():
    thought = event({"delta": {"reasoning": "So. "}})
    script = Script([thought + said("It is") + said(" 2", "length"), thought + said(" ok", "stop")])
    async with endpoint(script) as generators:
        ask = replace(TRACE, checkpoint="tokens:3", pause=True)
        (paused,) = await collect(generators, ask)
        ask = replace(TRACE, prefix_text=paused.text, prefix_num_tokens=paused.num_tokens)
        (resumed,) = await collect(generators, ask)
    assert (paused.text, paused.num_tokens) == ("So. </think>\n\nIt is 2", 3)
    assert paused.prefix_chars == len(paused.text)
    assert (resumed.text, resumed.num_tokens) == ("So.  ok", 5)


async def test_a_thought_that_was_paused_is_ended_where_its_answer_begins():
    script = Script([event({"delta": {"reasoning": "2"}}) + said("C", "stop")])
    async with endpoint(script) as generators:
        ask = replace(TRACE, prefix_text="1 + 1 is ", prefix_num_tokens=4)
        (resumed,) = await collect(generators, ask)
    assert (resumed.text, resumed.num_tokens) == ("2</think>\n\nC", 6)


async def test_a_reasoning_word_before_the_answer_ends_where_it_did():
    script = Script([event({"delta": {"reasoning": "2, so"}}) + said("2", "stop")])
    async with endpoint(script) as generators:
        (update,) = await collect(generators, replace(TRACE, checkpoint="reasoning_words:1"))
    assert update.prefix_chars is not None
    assert update.text[: update.prefix_chars] == "2, so"


@pytest.mark.parametrize(
    "odd",
    [
        "data: null\n\n",
        "data: {}\n\n",
        'data: "ping"\n\n',
        'data: {"choices": null}\n\n',
        'data: {"choices": [null]}\n\n',
        'data: {"choices": [], "usage": {}}\n\n',
        event({"delta": None}),
        event({"delta": {"content": None}, "finish_reason": ""}),
        ": ping\n\n",
    ],
)
async def test_a_chunk_that_says_nothing_is_passed_over(odd):
    script = Script([odd + said("a") + odd + said("b", "stop")])
    async with endpoint(script) as generators:
        (update,) = await collect(generators, TRACE)
    assert (update.text, update.num_tokens, update.finish_reason) == ("ab", 2, "stop")


async def test_an_empty_finish_reason_ends_nothing():
    end = event({"delta": {}, "finish_reason": "stop"})
    async with endpoint(Script([said("so ", "") + said("2", "") + end])) as generators:
        (update,) = await collect(generators, TRACE)
    assert (update.text, update.finish_reason) == ("so 2", "stop")


async def test_a_text_in_parts_is_joined():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "1 + 1 "}]}
    parts = [{"type": "text", "text": "It "}, {"type": "text", "text": "is 2"}, {"type": "image"}]
    script = Script([said([thinking]) + said(parts) + said(".", "stop")])
    async with endpoint(script) as generators:
        (update,) = await collect(generators, TRACE)
    assert (update.text, update.num_tokens) == ("1 + 1 </think>\n\nIt is 2.", 3)


async def test_half_a_surrogate_pair_waits_for_the_other_half():
    script = Script([said("a\ud83d") + said("\ude00b") + said("\ud83d", "stop")])
    async with endpoint(script) as generators:
        (update,) = await collect(generators, TRACE)
    assert (update.text, update.num_tokens) == ("a\U0001f600b\ufffd", 3)


async def test_a_silent_endpoint_is_gone():
    async with endpoint(Script([said("a")], hang=True), stall_s=0.2) as generators:
        started = time.monotonic()
        with pytest.raises(EngineGone):
            await collect(generators, TRACE)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("finish_reason", ["abort", "error"])
async def test_a_trace_that_the_server_aborts_has_not_ended(finish_reason):
    async with endpoint(Script([said("a", finish_reason)])) as generators:
        with pytest.raises(EngineGone):
            await collect(generators, TRACE)


@pytest.mark.parametrize("answer", [said("a"), ""], ids=["mid-stream", "before the first token"])
async def test_cancelling_the_task_closes_the_connection_and_frees_its_slot(answer):
    script = Script([answer], hang=True)
    async with endpoint(script, max_concurrency=1) as generators:
        for _ in range(2):
            script.arrived.clear()
            script.closed.clear()
            task = asyncio.create_task(collect(generators, TRACE))
            await asyncio.wait_for(script.arrived.wait(), 30)
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(script.closed.wait(), 5)
    assert len(script.asked) == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_is_never_shown(monkeypatch, caplog, status):
    monkeypatch.setenv("SOME_KEY", "sk-sekret")
    caplog.set_level("DEBUG")
    script = Script(['{"error": {"message": "Incorrect API key: sk-sekret"}}'], status)
    async with endpoint(script, api_key_env="SOME_KEY") as generators:
        with pytest.raises(UserError, match="refused the API key") as error:
            await collect(generators, TRACE)
    assert "sk-sekret" not in str(error.value) + caplog.text


async def test_a_refusal_is_the_servers_message_in_one_line():
    script = Script(['{"error": {"message": "too long:\\n512 tokens"}}'], 400)
    async with endpoint(script) as generators:
        with pytest.raises(UserError, match="too long: 512 tokens") as error:
            await collect(generators, TRACE)
    assert "\n" not in str(error.value)
