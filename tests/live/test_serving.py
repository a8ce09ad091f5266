"""The endpoint as its users meet it: OpenAI's client, sockets, generated requests, load."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support.served_endpoint import KEY, OTHER_KEY, QUESTION, Endpoint
from tests.support.waiting import HANG_S, until_hit, wait_for

pytestmark = pytest.mark.live

ASK: list[Any] = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def client(endpoint) -> Iterator[openai.OpenAI]:
    url = f"{endpoint.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=HANG_S) as made:
        yield made


# --- OpenAI's client ------------------------------------------------------------------------


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
    for deadline_s in (2.5, 5, 10, 20, 40):
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


# --- leaving --------------------------------------------------------------------------------


def newest(endpoint: Endpoint) -> dict[str, Any]:
    """What is known of the last request; nothing before the first one."""
    found = endpoint.get("/v1/deepprune/requests").json()["data"]
    return found[0] if found else {"id": None, "status": "done"}


def send_and_leave(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request over a socket, and close it when the engines are at work; how it ended."""
    before = newest(endpoint)["id"]
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", endpoint.port)) as line:
        line.sendall(head.encode() + content)
        wait_for(lambda: endpoint.is_at_work() or newest(endpoint)["id"] != before, every=0.02)
    seconds = endpoint.wait_for_rest()
    print(f"the engines were at rest {seconds:.2f} s after the client left")
    wait_for(lambda: (last := newest(endpoint))["id"] != before and last["status"] != "running")
    return newest(endpoint)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("policy", ["cons", "deepprune"])
def test_who_leaves_stops_all_traces_and_judging(endpoint, stream, policy):
    body = endpoint.ask(stream=stream, deepprune={"n": 512, "policy": policy})

    def leave() -> tuple[str, str] | None:
        left = send_and_leave(endpoint, body)
        was_over = left["status"] == "done" or left["stop_reason"] == "deadline"
        return None if was_over else (left["status"], left["stop_reason"])

    # It may be done before we come to leave, on a machine that pauses.
    assert until_hit(leave) == ("stopped", "disconnected")


# --- load -----------------------------------------------------------------------------------


def test_more_than_the_queue_holds_are_told_to_come_back(endpoint):
    body = endpoint.ask(deepprune={"n": 64, "policy": "cons"})

    def ask_all() -> list[httpx.Response] | None:
        with ThreadPoolExecutor(12) as pool:
            responses = list(pool.map(lambda _: endpoint.post(body), range(12)))
        all_in_turn = {response.status_code for response in responses} == {200}
        return None if all_in_turn else responses

    responses = until_hit(ask_all)
    statuses = Counter(response.status_code for response in responses)
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 4, "two at work and two that wait"
    for response in responses:
        if response.status_code == 429:
            assert int(response.headers["Retry-After"]) >= 1
            assert response.json()["error"]["code"] == "rate_limit_exceeded"
    endpoint.wait_for_rest()


def test_a_small_request_does_not_wait_for_a_large_one(endpoint):
    def ask(n: int) -> httpx.Response:
        return endpoint.post(endpoint.ask(deepprune={"n": n, "policy": "cons"}))

    def ask_both() -> list[str] | None:
        ended: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            large = pool.submit(ask, 512)
            large.add_done_callback(lambda _: ended.append("large"))
            wait_for(lambda: endpoint.is_at_work() or ended, every=0.02)
            if ended:
                return None
            small = ask(4)
            ended.append("small")
        assert small.status_code == large.result().status_code == 200
        return ended if ended[0] == "small" else None

    assert until_hit(ask_both) == ["small", "large"]


# --- watching -------------------------------------------------------------------------------


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = response.text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def test_the_events_of_a_request_tell_its_whole_course(endpoint):
    done = endpoint.post(endpoint.ask(deepprune={"n": 32, "return_clusters": True}))
    request_id = done.headers["x-deepprune-request-id"]
    path = f"/v1/deepprune/requests/{request_id}/events"
    wait_for(lambda: endpoint.get(path).is_success)
    response = endpoint.get(path)
    # Those who look before it has all arrived also get `progress`, which is of the moment.
    events = [event for event in events_of(response) if event["type"] != "progress"]
    assert events[0]["type"] == "start" and events[0]["n"] == 32
    assert events[-1]["type"] == "end" and events[-1]["status"] == "done"
    launched = [event["sample"] for event in events if event["type"] == "launch"]
    ended = [event["sample"] for event in events if event["type"] in ("finish", "cut", "lost")]
    assert sorted(launched) == sorted(ended) == sorted(set(launched))
    clusters: dict[int, set[int]] = {}
    for event in events:
        if event["type"] == "cluster":
            clusters.setdefault(event["cluster"], set()).add(event["sample"])
    body = done.json()
    assert [clusters[index] for index in sorted(clusters)] == [
        set(cluster) for cluster in body["deepprune"]["clusters"]
    ]
    votes = [event["votes"] for event in events if event["type"] == "vote"]
    assert votes[-1] == body["deepprune"]["votes"]
    assert sum(events[-1]["tokens"].values()) == body["usage"]["deepprune"]["generated_tokens"]
    assert events[-1]["content"] == body["choices"][0]["message"]["content"]
    times = [event["t"] for event in events if "t" in event]
    assert times == sorted(times)
    resumed = endpoint.get(
        f"/v1/deepprune/requests/{request_id}/events", **{"Last-Event-ID": str(len(launched))}
    )
    assert events_of(resumed) == events[len(launched) + 1 :]


def test_a_running_request_is_watched_from_its_stream(endpoint):
    body = endpoint.ask(stream=True, deepprune={"n": 128, "policy": "cons"})
    url = f"{endpoint.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=endpoint.headers, timeout=HANG_S) as asked:
        request_id = asked.headers["x-deepprune-request-id"]
        path = f"/v1/deepprune/requests/{request_id}/events"
        looks: list[httpx.Response] = []
        wait_for(lambda: looks.append(endpoint.get(path)) or looks[-1].status_code != 404)
        for _ in asked.iter_lines():
            pass
    events = events_of(looks[-1])
    assert events[-1]["type"] == "end"
    assert any(event["type"] == "progress" for event in events)


def test_nobody_sees_the_requests_of_another_key(endpoint):
    request_id = endpoint.post(endpoint.ask(model="voted")).headers["x-deepprune-request-id"]
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    assert endpoint.get("/v1/deepprune/requests", **other).json() == {"data": []}
    path = f"/v1/deepprune/requests/{request_id}/events"
    assert endpoint.get(path, **other).status_code == 404


def test_metrics_are_those_that_the_dashboard_draws(endpoint):
    dashboard = json.loads(Path("docs/grafana.json").read_text(encoding="utf-8"))
    drawn = set(re.findall(r"deepprune_\w+", json.dumps(dashboard["panels"])))
    wait_for(
        lambda: drawn <= set(re.findall(r"^\w+", endpoint.get("/metrics").text, re.M)), every=1
    )
    assert httpx.get(f"{endpoint.url}/metrics").status_code == 401


def test_the_log_has_every_request_and_no_word_of_it(endpoint):
    answer = endpoint.post(endpoint.ask(model="voted"))
    request_id = answer.headers["x-deepprune-request-id"]
    mine: dict[str, Any] = {}

    def is_told() -> bool:
        # The line is written when the answer is on its way, and by another process.
        whole = endpoint.log.read_text().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in whole]
        mine.update({line["event"]: line for line in lines if line.get("request_id") == request_id})
        return {"request", "solved"} <= mine.keys()

    wait_for(is_told)
    assert mine["request"]["status"] == 200
    assert mine["solved"]["finished_traces"] == 4
    assert mine["solved"]["generated_tokens"] > 0
    text = endpoint.log.read_text()
    for secret in (KEY, OTHER_KEY, "modulo", "boxed"):
        assert secret not in text


# --- generated requests ---------------------------------------------------------------------


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


# --- scaling: last, since it leaves and takes engines -------------------------------------------


def test_replicas_follow_the_load_and_no_request_is_lost(endpoint):
    """One generator replica becomes two, and one again, under requests all the time."""
    load = 32
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            body = endpoint.ask(model="voted", deepprune={"n": load})
            answers.append(endpoint.post(body))

    def there_are(count: int) -> Callable[[], bool]:
        return lambda: endpoint.look("replicas")["generator voted"] == count

    assert there_are(1)()
    # So many that what runs never falls below what one replica takes while the second one starts.
    asking = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        wait_for(there_are(2), every=1)
        load = 1
        wait_for(there_are(1), every=1)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["deepprune"]["lost_tokens"] == 0
        vote = answer.json()["deepprune"]
        assert vote["finished_traces"] == vote["num_traces"]
    endpoint.wait_for_rest()
