"""The endpoint under load: clients that leave, queues that are full, replicas that follow."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.engines import num_running
from tests.support.served_endpoint import KEY, SCALED, Endpoint
from tests.support.waiting import until_hit, wait_for

pytestmark = pytest.mark.live


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


def test_replicas_follow_the_load_and_no_request_is_lost(scaled_endpoint):
    """One generator replica becomes two, and one again, under requests all the time."""
    load = 32
    answers: list[httpx.Response] = []
    stop = threading.Event()
    (generator,) = scaled_endpoint.apps

    def keep_asking() -> None:
        while not stop.is_set():
            body = scaled_endpoint.ask(model=SCALED, deepprune={"n": load})
            answers.append(scaled_endpoint.post(body))

    assert num_running(generator) == 1
    # So many that what runs never falls below what one replica takes while the second one starts.
    asking = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        wait_for(lambda: num_running(generator) == 2, every=1)
        load = 1
        wait_for(lambda: num_running(generator) == 1, every=1)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["deepprune"]["lost_tokens"] == 0
        vote = answer.json()["deepprune"]
        assert vote["finished_traces"] == vote["num_traces"]
    scaled_endpoint.wait_for_rest()
