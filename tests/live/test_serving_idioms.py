"""What clients of reasoning models ask of the served endpoint: OpenAI's client on real engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.support.served_endpoint import KEY, OTHER_KEY, QUESTION, Endpoint
from tests.support.waiting import HANG_S, until_hit, wait_for

pytestmark = pytest.mark.live

ASK: list[Any] = [{"role": "user", "content": QUESTION}]
SCHEMA = {
    "type": "object",
    "properties": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["digit"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}


@pytest.fixture
def client(endpoint) -> Iterator[openai.OpenAI]:
    url = f"{endpoint.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=HANG_S) as made:
        yield made


@pytest.mark.core
def test_the_engine_keeps_to_a_schema_and_the_json_votes(client):
    answer: Any = client.chat.completions.create(
        model="pruned",
        messages=ASK,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
        },
        extra_body={"deepprune": {"n": 8}},
    )
    assert answer.deepprune["policy"] == "adaptive", "no trace is paused"
    assert answer.choices[0].finish_reason == "stop"
    said = json.loads(answer.choices[0].message.content)
    assert list(said) == ["digit"] and 0 <= said["digit"] <= 9
    assert json.loads(answer.deepprune["answer"]) == said
    assert answer.deepprune["votes"][0]["count"] >= 1


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "no such type"}},
                }
            },
            "response_format",
        ),
    ],
    ids=str,
)
def test_what_the_model_or_the_engine_cannot_honour_is_refused_by_name(client, extra, param):
    with pytest.raises(openai.BadRequestError, match=param) as refused:
        client.chat.completions.create(model="pruned", messages=ASK, extra_body=extra)
    assert refused.value.param == param


def test_a_conversation_of_a_reasoning_model_goes_on(client):
    first = client.chat.completions.create(model="voted", messages=ASK)
    turns = [
        {**ASK[0], "name": "bob"},
        first.choices[0].message.model_dump() | {"reasoning_content": "I had a look."},
        *ASK,
    ]
    assert client.chat.completions.create(model="voted", messages=turns).choices[0].message.content


def test_a_question_without_an_answer_to_compare_costs_one_trace(client):
    answer: Any = client.chat.completions.create(
        model="pruned",
        messages=[{"role": "user", "content": "Please write a poem."}],
        stop=["a", "e", "o"],  # the model knows nothing but sums: this one ends early
        extra_body={"deepprune": {"n": 64}},
    )
    assert answer.deepprune["stop_reason"] == "no_answer"
    assert answer.deepprune["num_traces"] == answer.deepprune["finished_traces"] == 1


def cancel(endpoint: Endpoint, request_id: str, key: str) -> httpx.Response:
    url = f"{endpoint.url}/v1/deepprune/requests/{request_id}"
    return httpx.delete(url, headers={"Authorization": f"Bearer {key}"}, timeout=HANG_S)


def test_a_request_is_cancelled_by_its_id_on_whichever_replica_it_runs(endpoint):
    body = endpoint.ask(deepprune={"n": 512, "policy": "cons"})

    def newest() -> Any:
        return (endpoint.get("/v1/deepprune/requests").json()["data"] or [{"id": None}])[0]

    def cancel_one() -> Any:
        before = newest()["id"]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(endpoint.post, body)
            wait_for(lambda: newest()["id"] != before or waiting.done(), every=0.02)
            request_id = newest()["id"]
            assert cancel(endpoint, request_id, OTHER_KEY).status_code == 404
            assert cancel(endpoint, request_id, KEY).status_code == 200
            vote = waiting.result().json()["deepprune"]
        # It may be done before it is cancelled, on a machine that pauses.
        return None if vote["stop_reason"] == "vote" else vote

    for _ in range(3):  # two ingress replicas: the cancel meets the right one by chance
        vote = until_hit(cancel_one)
        assert vote["stop_reason"] == "cancelled" and not vote["complete"]
    endpoint.wait_for_rest()
    assert cancel(endpoint, "none", KEY).status_code == 404


def test_a_deadline_too_short_to_start_leaves_an_empty_vote(client):
    answer: Any = client.chat.completions.create(
        model="voted", messages=ASK, extra_body={"deepprune": {"deadline_s": 0.001}}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.deepprune["stop_reason"] == "deadline"
