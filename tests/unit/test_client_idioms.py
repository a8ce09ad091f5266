"""What clients of reasoning models do: OpenAI's client over the real app, with made-up traces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from actors.generators.endpoint import EndpointGenerators
from actors.messages import TraceRequest
from deepprune.config import EndpointGeneratorConfig, SamplingConfig
from tests.support.synthetic_endpoint import standing

QUESTION = "What is 3 + 4? Please think."
ASK: list[Any] = [{"role": "user", "content": QUESTION}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look a way up.",
            "parameters": {
                "type": "object",
                "properties": {"way": {"type": "integer"}},
                "required": ["way"],
            },
            "strict": True,
        },
    }
]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("stand")
    with standing(folder, keys=["k"], tokens_per_s=20_000) as started:
        yield f"{started}/v1"


@pytest.fixture(scope="module")
def client(url) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0, timeout=60) as made:
        yield made


def test_thought_and_answer_come_apart(client):
    answer = client.chat.completions.create(model="voted", messages=ASK)
    message: Any = answer.choices[0].message
    assert message.content.startswith("so it is \\boxed{")
    assert message.reasoning_content.startswith("I try way")
    assert "</think>" not in message.content + message.reasoning_content
    assert answer.choices[0].finish_reason == "stop"


def test_a_stream_gives_the_thought_before_the_answer(client):
    stream = client.chat.completions.create(
        model="voted",
        messages=ASK,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    )
    order, text, tokens = [], {"reasoning_content": "", "content": ""}, []
    for chunk in stream:
        if chunk.usage is not None:
            tokens.append(chunk.usage.completion_tokens)
        for choice in chunk.choices:
            for field in text:
                piece = getattr(choice.delta, field, None)
                if piece:
                    text[field] += piece
                    order.append(field)
    assert order == sorted(order, reverse=True) and set(order) == set(text)
    assert text["content"].startswith("so it is") and "I try way" in text["reasoning_content"]
    assert tokens == sorted(tokens) and tokens[-1] > 0


def test_an_answer_goes_back_as_the_client_holds_it(client):
    """The whole message is sent back, thought and nulls included, as chat UIs do."""
    first = client.chat.completions.create(model="voted", messages=ASK)
    turns = [
        {"role": "system", "content": "Be brief.", "name": "house"},
        {**ASK[0], "name": "bob"},
        first.choices[0].message.model_dump(),
        {"role": "user", "content": "And 5 + 6?"},
    ]
    assert client.chat.completions.create(model="voted", messages=turns).choices[0].message.content


def test_a_loop_of_tool_calls_ends_in_an_answer(client):
    turns = list(ASK)
    first = client.chat.completions.create(model="voted", messages=turns, tools=TOOLS)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "look_up" and "way" in json.loads(call.function.arguments)
    extra: Any = first
    assert json.loads(extra.deepprune["answer"])[0]["name"] == "look_up", "the vote is over calls"
    turns += [
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "7"},
    ]
    last = client.chat.completions.create(model="voted", messages=turns, tools=TOOLS)
    assert last.choices[0].finish_reason == "stop" and last.choices[0].message.content


def test_tool_calls_are_streamed(client):
    stream = client.chat.completions.create(
        model="voted", messages=ASK, tools=TOOLS, stream=True, tool_choice="auto"
    )
    chunks = [chunk.choices[0] for chunk in stream if chunk.choices]
    called = [call for choice in chunks for call in choice.delta.tool_calls or []]
    assert [call.index for call in called] == [0] and called[0].id
    assert chunks[-1].finish_reason == "tool_calls"


def test_a_schema_gives_parsed_json(client):
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}}
    answer = client.chat.completions.create(
        model="voted",
        messages=ASK,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    extra: Any = answer
    assert json.loads(answer.choices[0].message.content or "") == json.loads(
        extra.deepprune["answer"]
    )


def test_efforts_template_arguments_and_retired_parameters_are_accepted(client):
    client.chat.completions.create(
        model="voted",
        messages=ASK,
        reasoning_effort="low",
        n=1,
        logprobs=False,
        user="me",
        parallel_tool_calls=True,
        extra_body={
            "chat_template_kwargs": {"enable_thinking": True},
            "top_k": -1,
            "min_tokens": 0,
            "stop_token_ids": [],
            "best_of": 1,
            "use_beam_search": False,
            "add_generation_prompt": True,
            "include_reasoning": True,
        },
    )


def test_a_vote_without_any_answer_says_so(client):
    answer: Any = client.chat.completions.create(
        model="voted", messages=ASK, extra_body={"deepprune": {"answer": {"regex": "nothing"}}}
    )
    assert answer.deepprune["answer"] is None
    assert answer.deepprune["stop_reason"] == "no_answer"
    assert answer.choices[0].message.content


def test_a_pattern_says_what_is_voted_on(client):
    answer: Any = client.chat.completions.create(
        model="voted", messages=ASK, extra_body={"deepprune": {"answer": {"regex": r"so (\w+)"}}}
    )
    assert answer.deepprune["answer"] == "it" and answer.deepprune["vote_share"] == 1.0
    assert answer.deepprune["p_full_vote"] == 1.0


def test_a_stream_is_cancelled_by_its_id(client):
    raw = client.chat.completions.with_raw_response.create(
        model="voted",
        messages=[{"role": "user", "content": "Is 1 + 1 slow?"}],
        stream=True,
    )
    request_id = raw.headers["x-deepprune-request-id"]
    done = client.delete(f"/deepprune/requests/{request_id}", cast_to=dict[str, str])
    assert done["status"] == "cancelling"
    last: Any = [chunk for chunk in raw.parse() if chunk.choices][-1]
    assert last.choices[0].finish_reason == "length"
    assert last.deepprune["result"]["stop_reason"] == "cancelled"


@pytest.mark.parametrize(
    "extra",
    [{"min_tokens": 5}, {"guided_json": {}}, {"tool_choice": "required"}, {"logprobs": True}],
    ids=str,
)
def test_what_would_change_the_answer_is_refused_by_name(client, extra):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="voted", messages=ASK, extra_body=extra)
    (name,) = extra
    assert refused.value.param == name and refused.value.code == "unsupported_parameter"


async def test_one_endpoint_is_the_generator_of_another(url, monkeypatch):
    monkeypatch.setenv("STAND_KEY", "k")
    config = EndpointGeneratorConfig(
        kind="endpoint", url=url, model="voted", api_key_env="STAND_KEY"
    )
    request = TraceRequest(
        "r/0", QUESTION, SamplingConfig(max_tokens=256), 7, checkpoint="tokens:100"
    )
    generators = EndpointGenerators(config, 60)
    updates = [update async for update in generators.stream(request)]
    text = "".join(update.text for update in updates)
    assert "</think>" in text and "so it is \\boxed{" in text, "thought and answer, as in a trace"
    assert updates[-1].finish_reason == "stop" and 100 < updates[-1].num_tokens <= 256
    assert any(update.prefix_chars is not None for update in updates), "the usage is read"
