"""What the endpoint tells of its requests: events, history, metrics, log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.served_endpoint import KEY, OTHER_KEY
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.live


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
