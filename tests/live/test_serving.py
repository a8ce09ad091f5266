"""The endpoint as its users meet it: OpenAI's client, sockets, generated requests, load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.served_endpoint import KEY, QUESTION
from tests.support.waiting import HANG_S

pytestmark = pytest.mark.live

ASK: list[Any] = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(endpoint) -> Iterator[openai.OpenAI]:
    url = f"{endpoint.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=HANG_S) as made:
        yield made


@pytest.mark.core
def test_a_plain_request_is_answered_by_a_whole_trace(client):
    raw = client.chat.completions.with_raw_response.create(model="pruned", messages=ASK)
    answer: Any = raw.parse()
    (choice,) = answer.choices
    vote, usage = answer.deepprune, answer.usage
    assert choice.finish_reason == "stop"
    assert f"\\boxed{{{vote['answer']}}}" in choice.message.content
    assert 0 < vote["vote_share"] <= 1
    assert vote["votes"][0]["answer"] == vote["answer"]
    assert vote["finished_traces"] + vote["pruned_traces"] == vote["num_traces"] <= 32
    assert usage.completion_tokens < usage.deepprune["generated_tokens"]
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.deepprune["judge_tokens"] > 0
    assert raw.headers["x-deepprune-stop-reason"] == "vote"
    assert answer.id == f"chatcmpl-{raw.headers['x-deepprune-request-id']}"


def test_a_stream_is_read_by_clients_that_know_nothing_of_progress(client):
    stream = client.chat.completions.create(
        model="pruned",
        messages=ASK,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"deepprune": {"n": 64, "policy": "cons"}},
    )
    chunks = list(stream)
    content = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert "\\boxed{" in content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [reason for reason in reasons if reason] == ["stop"] and reasons[-1] == "stop"
    extras: list[Any] = [c.deepprune for c in chunks if "deepprune" in (c.model_extra or {})]
    assert extras and "result" in extras[-1]
    assert extras[-1]["result"]["finished_traces"] == 64
    assert all(set(extra) == {"progress"} for extra in extras[:-1])
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices


def test_a_stream_is_made_of_events_and_ends_as_it_should(endpoint):
    body = endpoint.ask(model="voted", stream=True)
    url = f"{endpoint.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=endpoint.headers, timeout=HANG_S) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line[6:])["object"] == "chat.completion.chunk" for line in lines[:-1])


def test_models_are_listed_and_each_answers(client, endpoint):
    assert [model.id for model in client.models.list()] == ["pruned", "voted"]
    assert client.models.retrieve("voted").deepprune["policy"] == "cons"
    answer: Any = client.chat.completions.create(model="voted", messages=ASK)
    assert answer.deepprune["finished_traces"] == 4
    assert answer.usage.deepprune["judge_tokens"] == 0
    assert endpoint.get("/healthz").json()["status"] == "ok"


def test_a_conversation_a_stop_text_and_a_budget_are_honoured(client):
    turns = [
        {"role": "system", "content": "Answer in a box."},
        *ASK,
        {"role": "assistant", "content": "Let me think."},
        *ASK,
    ]
    whole: Any = client.chat.completions.create(model="voted", messages=turns)
    plain: Any = client.chat.completions.create(model="voted", messages=ASK)
    assert whole.usage.prompt_tokens > 2 * plain.usage.prompt_tokens - 5
    stopped = client.chat.completions.create(model="pruned", messages=ASK, stop="\\boxed")
    assert "boxed" not in stopped.choices[0].message.content
    assert stopped.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(model="pruned", messages=ASK, max_tokens=20)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 20


def test_a_seeded_trace_repeats_and_a_greedy_one_is_alone(client):
    one: Any = {"deepprune": {"n": 1, "policy": "cons"}}

    def text(seed: int) -> str:
        create = client.chat.completions.create
        answer = create(model="voted", messages=ASK, seed=seed, extra_body=one)
        return answer.choices[0].message.content

    assert text(5) == text(5) != text(6)
    greedy: Any = client.chat.completions.create(model="pruned", messages=ASK, temperature=0)
    assert greedy.deepprune["num_traces"] == 1


def test_bounds_end_the_vote_and_say_so(client):
    create = client.chat.completions.create
    many = {"n": 512, "policy": "cons"}
    for deadline_s in (2.5, 5, 10, 20, 40, 80, 160, 320):
        bound = {"deepprune": many | {"deadline_s": deadline_s}}
        late: Any = create(model="pruned", messages=ASK, extra_body=bound)
        assert late.choices[0].finish_reason == "length"
        assert late.deepprune["stop_reason"] == "deadline" and not late.deepprune["complete"]
        if late.choices[0].message.content:  # the first trace has ended
            break
    assert late.choices[0].message.content
    costly: Any = create(
        model="pruned", messages=ASK, extra_body={"deepprune": many | {"max_total_tokens": 900}}
    )
    assert costly.choices[0].finish_reason == "length"
    assert costly.deepprune["stop_reason"] == "max_total_tokens"
    assert 900 <= costly.usage.deepprune["generated_tokens"] < 512 * 100


def test_mistakes_are_raised_as_openais_errors(client, endpoint):
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="not served"):
        create(model="other", messages=ASK)
    with pytest.raises(openai.BadRequestError, match="'tools' is not supported"):
        create(model="pruned", messages=ASK, tools=[{"type": "function"}])
    with pytest.raises(openai.BadRequestError, match="context holds 512") as too_long:
        create(model="pruned", messages=[{"role": "user", "content": "what " * 5000}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="n is 513"):
        create(model="pruned", messages=ASK, extra_body={"deepprune": {"n": 513}})
    with pytest.raises(openai.APIStatusError) as huge:
        create(model="pruned", messages=[{"role": "user", "content": "x" * 200_000}])
    assert huge.value.status_code == 413
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(
            model="pruned", messages=ASK, extra_body={"deepprune": {"n": 256}}
        )
    wrong = openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.models.list()


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("POST", "/v1/chat/completions", b"{", {}, 400),
        ("POST", "/v1/chat/completions", b"\xff", {}, 400),
        ("POST", "/v1/chat/completions", b"", {}, 400),
        ("POST", "/v1/chat/completions", b"a=b", {"Content-Type": "text/plain"}, 415),
        ("GET", "/v1/chat/completions", None, {}, 405),
        ("GET", "/v1/models/none/such", None, {}, 404),
        ("GET", "/v1/deepprune/requests/none/events", None, {}, 404),
        ("GET", "/no/such/page", None, {}, 404),
        ("GET", "/../../pyproject.toml", None, {}, 404),
        ("DELETE", "/v1/models", None, {}, 405),
    ],
)
def test_bad_requests_get_openais_error_body(endpoint, method, path, content, headers, status):
    url = endpoint.url + path
    headers = endpoint.headers | headers
    response = httpx.request(method, url, content=content, headers=headers, timeout=HANG_S)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_the_page_is_served_and_the_schema_is_what_routes_do(endpoint):
    assert "<html" in endpoint.get("/").text
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    raw = endpoint.get("/openapi.json").json()
    # Any request that is valid costs a vote: as small a one as can be.
    controls = raw["components"]["schemas"]["Controls"]["properties"]
    controls["n"] = {"type": "integer", "minimum": 1, "maximum": 2}
    raw["components"]["schemas"]["ChatRequest"]["properties"]["model"]["enum"] = ["voted"]
    raw["paths"].pop("/v1/deepprune/requests/{request_id}/events")
    raw["paths"].pop("/metrics")
    schema = schemathesis.openapi.from_dict(raw)
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            call = {"base_url": endpoint.url, "headers": endpoint.headers, "timeout": HANG_S}
            # Not all that is asked of a request can be said in a schema: that the last message is
            # the user's, say.
            case.call_and_validate(excluded_checks=[positive_data_acceptance], **call)

        check()
    endpoint.wait_for_rest()
