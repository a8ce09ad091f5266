"""The parts of the endpoint that need no server: queue, request history, metrics."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from actors.serving.admission import Admission
from actors.serving.errors import ApiError
from actors.serving.prometheus import merged
from actors.serving.request_history import HistoryUpdate, RequestHistory
from deepprune.serve_config import QueueConfig
from tests.support.synthetic_endpoint import service

ROOT = Path(__file__).parents[2]


async def test_more_than_may_wait_are_told_when_to_come_back():
    admission = Admission(QueueConfig(max_running=2, max_waiting=3))
    leave = asyncio.Event()

    async def request() -> str:
        try:
            async with admission.turn("me"):
                await leave.wait()
                return "served"
        except ApiError as error:
            return f"refused {error.status} {int(error.headers['Retry-After']) >= 1}"

    tasks = [asyncio.create_task(request()) for _ in range(8)]
    await asyncio.sleep(0.01)
    assert (admission.num_running, admission.num_waiting) == (2, 3)
    leave.set()
    assert sorted(await asyncio.gather(*tasks)) == ["refused 429 True"] * 3 + ["served"] * 5
    assert (admission.num_running, admission.num_waiting) == (0, 0)


async def test_who_leaves_the_queue_leaves_a_place():
    admission = Admission(QueueConfig(max_running=1, max_waiting=1))
    async with admission.turn("me"):
        waiting = asyncio.create_task(admission.turn("me").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert admission.num_waiting == 0
    async with admission.turn("me"):
        assert admission.num_running == 1


async def test_no_key_takes_every_place_or_jumps_the_queue():
    admission = Admission(QueueConfig(max_running=1, max_waiting=5), num_keys=2)
    leave = asyncio.Event()
    served: list[str] = []

    async def request(owner: str) -> None:
        async with admission.turn(owner):
            await leave.wait()
            served.append(owner)

    tasks = [asyncio.create_task(request("a")) for _ in range(4)]
    await asyncio.sleep(0.01)
    with pytest.raises(ApiError, match="with this key") as refused:
        await tasks[3]
    assert refused.value.status == 429 and int(refused.value.headers["Retry-After"]) >= 1
    tasks[3] = asyncio.create_task(request("b"))
    await asyncio.sleep(0.01)
    leave.set()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "a", "a"], "the key that runs the fewest is next"


async def test_a_single_key_may_take_every_place():
    admission = Admission(QueueConfig(max_running=16, max_waiting=0), num_keys=1)
    async with AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(admission.turn("me"))
        assert admission.num_running == 16


async def test_the_history_tells_each_owner_his_own():
    history = RequestHistory(num_kept=2)
    for name in ("a", "b", "c"):
        await history.write(
            [HistoryUpdate(name, f"owner of {name}", {"id": name}, [{"type": "start"}])]
        )
    assert await history.list("owner of b") == [{"id": "b"}]
    assert await history.read("b", "owner of a", 0, 0, 0.01) is None
    page = await history.read("b", "owner of b", 0, 0, 0.01)
    assert page is not None and [json.loads(event) for event in page.events] == [{"type": "start"}]


async def test_the_history_forgets_all_but_the_last():
    history = RequestHistory(num_kept=2)
    for name in "abcd":
        await history.write([HistoryUpdate(name, "me", {"id": name}, [{"type": "end"}], done=True)])
    await history.write([HistoryUpdate("running", "me", {"id": "running"})])
    assert [summary["id"] for summary in await history.list("me")] == ["running", "d", "c"]


async def test_the_history_hands_on_a_cancel_to_the_replica_that_runs_the_request():
    history = RequestHistory(num_kept=2)
    await history.write([HistoryUpdate("a", "me", {"status": "running"})])
    assert await history.cancel("a", "another") is None
    assert await history.cancel("none", "me") is None
    assert await history.write([], ["a", "b"]) == []
    assert await history.cancel("a", "me") == {"status": "running"}
    assert await history.write([], ["a", "b"]) == ["a"]
    await history.write([HistoryUpdate("a", "me", {"status": "stopped"}, done=True)])
    assert await history.cancel("a", "me") == {"status": "stopped"}


async def test_a_reader_of_the_history_waits_for_news():
    history = RequestHistory(num_kept=2)
    await history.write([HistoryUpdate("a", "me", {}, [{"type": "start"}], {1: 5})])
    first = await history.read("a", "me", 0, 0, 0.01)
    assert first is not None and (len(first.events), first.tokens) == (1, {1: 5})
    later = asyncio.create_task(history.read("a", "me", 1, first.version, 30))
    await asyncio.sleep(0.01)
    assert not later.done()
    await history.write([HistoryUpdate("a", "me", {}, [{"type": "end"}], done=True)])
    page = await later
    assert (
        page is not None and page.done and [json.loads(e)["type"] for e in page.events] == ["end"]
    )
    same = await history.read("a", "me", 2, page.version, 30)
    assert same is not None and same.done and same.events == [], "an end is not waited after"


EXPORT = """# HELP ray_deepprune_traces_total Traces ended
# TYPE ray_deepprune_traces_total counter
ray_deepprune_traces_total{Component="core_worker",WorkerId="w1",fate="lost"} 3.0
# HELP ray_node_cpu Other
# TYPE ray_node_cpu gauge
ray_node_cpu{Version="1"} 2.0
"""


def test_metrics_of_several_nodes_are_one_page_of_ours():
    other = EXPORT.replace("w1", "w2")
    assert merged([EXPORT, "", other]) == (
        "# HELP deepprune_traces_total Traces ended\n"
        "# TYPE deepprune_traces_total counter\n"
        'deepprune_traces_total{WorkerId="w1",fate="lost"} 3.0\n'
        'deepprune_traces_total{WorkerId="w2",fate="lost"} 3.0\n'
    )
    assert merged([]) == ""


def declared_metrics() -> set[str]:
    """Every series that `actors/driver/metrics.py` leads to, as Prometheus names it."""
    source = (ROOT / "actors" / "driver" / "metrics.py").read_text(encoding="utf-8")
    series = set()
    for kind, name in re.findall(r"(Counter|Gauge|Histogram)\(\s*\"(deepprune_\w+)\"", source):
        endings = {"Counter": ["_total"], "Gauge": [""], "Histogram": ["_bucket", "_sum", "_count"]}
        series |= {name + ending for ending in endings[kind]}
    return series


def test_the_dashboard_draws_metrics_that_there_are():
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    drawn = set(re.findall(r"deepprune_\w+", " ".join(expressions)))
    assert drawn and drawn <= declared_metrics()
    missing = {re.sub("_(bucket|sum|count|total)$", "", name) for name in declared_metrics()} - {
        re.sub("_(bucket|sum|count|total)$", "", name) for name in drawn
    }
    assert missing == {"deepprune_running_problems"}, "of runs, not of requests"


async def test_a_history_that_hangs_holds_up_neither_requests_nor_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("actors.serving.service.HISTORY_S", 0.01)
    monkeypatch.setattr("actors.serving.service.WRITE_S", 0.01)
    held = service(tmp_path, ["sk-1"], tokens_per_s=100)
    asked: asyncio.Queue[list[HistoryUpdate]] = asyncio.Queue()

    async def hangs(updates, running):
        asked.put_nowait(updates)
        await asyncio.Event().wait()

    held.history.write.remote = hangs
    first, second = HistoryUpdate("a", "me"), HistoryUpdate("b", "me")
    held._updates = [first]
    writer = asyncio.create_task(held.write_history())
    assert await asked.get() == [first]
    held._updates = [second]
    assert await asked.get() == [second], "the first updates are lost, not kept for ever"
    assert not held._updates
    writer.cancel()
