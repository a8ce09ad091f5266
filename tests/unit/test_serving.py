"""The parts of the endpoint that need no server: queue, results, events, metrics."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.driver.live_trace import LiveTrace
from actors.serving.admission import Admission
from actors.serving.completion import Solution, representative, savings
from actors.serving.errors import ApiError
from actors.serving.prometheus import merged
from actors.serving.request_history import HistoryUpdate, RequestHistory
from deepprune.events import Decision
from deepprune.ledger import Fate, Ledger, TraceEnd
from deepprune.serve_config import QueueConfig
from deepprune.session import Outcome
from tests.unit.test_chat_request import read

ROOT = Path(__file__).parents[2]


# --- admission ------------------------------------------------------------------------------


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


# --- results --------------------------------------------------------------------------------


def trace(text: str, num_tokens: int, finish_reason: str | None = "stop") -> LiveTrace:
    return LiveTrace(0, text=text, num_tokens=num_tokens, finish_reason=finish_reason)


def solution(stopped_by: str | None = None, **fields: Any) -> Solution:
    spec = read(deepprune={"n": 4}, **fields)
    traces = {0: trace("so 7", 10), 1: trace("so 3", 30), 2: trace("thus 3", 20), 3: trace("", 4)}
    ends = tuple(TraceEnd(sample, Fate.FINISHED, "", t.num_tokens) for sample, t in traces.items())
    ledger = Ledger(
        finished_tokens=60,
        cancelled_after_checkpoint_tokens=4,
        judge_computed_tokens=50,
        judge_cached_tokens=9,
        finished_traces=3,
        cancelled_after_checkpoint_traces=1,
    )
    decision = Decision("3", (("3", (1, 2)), ("7", (0,))), ((1, 2), (0,)))
    outcome = Outcome(spec.problem, "deepprune", decision, ends, ledger, complete=not stopped_by)
    return Solution("r1", 1_700_000_000, spec, outcome, traces, 5, stopped_by)


def test_the_answer_is_a_whole_trace_of_the_winning_side():
    found = solution().completion.model_dump()
    (choice,) = found["choices"]
    assert choice["message"]["content"] == "so 3"
    assert choice["finish_reason"] == "stop"
    assert found["usage"]["prompt_tokens"] == 5
    assert found["usage"]["completion_tokens"] == 30
    assert found["usage"]["total_tokens"] == 35
    assert found["usage"]["deepprune"]["generated_tokens"] == 64
    assert found["usage"]["deepprune"]["pruned_tokens"] == 4
    assert found["usage"]["deepprune"]["judge_tokens"] == 50
    assert found["deepprune"]["answer"] == "3"
    assert found["deepprune"]["vote_share"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["deepprune"]["savings"] == pytest.approx(1 - 64 / (4 * 20))
    assert found["deepprune"]["clusters"] is None
    assert solution().headers["x-deepprune-clusters"] == "2"


@pytest.mark.parametrize("reason", ["deadline", "max_total_tokens"])
def test_a_bound_that_was_met_is_said(reason):
    found = solution(reason)
    assert found.finish_reason == "length"
    assert found.result.stop_reason == reason == found.headers["x-deepprune-stop-reason"]
    assert found.completion.choices[0].message.content == "so 3", "the best vote so far"


def said(found: Solution, field: str) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in found.chunks() if chunk["choices"]]
    return "".join(delta.get(field, "") for delta in deltas)


@given(st.text(max_size=2000))
def test_the_chunks_of_a_stream_add_up_to_the_answer(text):
    found = solution(stream=True, stream_options={"include_usage": True}, separate_reasoning=False)
    found.traces[1].text = text
    chunks = list(found.chunks())
    assert said(found, "content") == text
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]][-1] == "stop"
    assert chunks[-2]["deepprune"]["result"]["answer"] == "3"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 35
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks[:-1])


MARKED = {
    "<think>\nhm\n</think>\n\n3": ("hm", "3"),
    "hm</think>3": ("hm", "3"),
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>3": (
        "hm",
        "3",
    ),
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.add <|constrain|>json<|message|>{"a": 1}': ("hm", None),
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>so"
    "<|end|><|start|>assistant<|channel|>final<|message|>3": ("hm\nso", "3"),
    "<|channel|>analysis": (None, None),
    "analysisHm.assistantfinal3": ("Hm.", "3"),
    "<think>hm": ("hm", None),
    "<think></think>3": (None, "3"),
    "so 3": (None, "so 3"),
}


@pytest.mark.parametrize("text", MARKED)
def test_thought_and_answer_are_apart_under_both_names(text):
    thought, answer = MARKED[text]
    found = solution()
    found.traces[1].text = text
    message = found.completion.choices[0].message
    assert (message.reasoning_content, message.content) == (thought, answer)
    assert message.reasoning == message.reasoning_content
    assert said(found, "reasoning_content") == said(found, "reasoning") == (thought or "")
    assert said(found, "content") == (answer or "")


def test_a_thought_that_began_in_the_prompt_is_one_even_where_it_was_cut():
    found = replace(solution(), begins_in_thought=True)
    message = found.completion.choices[0].message
    assert (message.reasoning_content, message.content) == ("so 3", None)


def test_a_client_may_want_one_text_or_no_thought():
    text = "<think>hm</think>3"
    for options, expected in (
        ({"separate_reasoning": False}, (None, text)),
        ({"include_reasoning": False}, (None, "3")),
    ):
        found = solution(**options)
        found.traces[1].text = text
        message = found.completion.choices[0].message
        assert (message.reasoning_content, message.content) == expected


def test_usage_so_far_grows_to_the_usage_where_it_is_wanted():
    both = {"include_usage": True, "continuous_usage_stats": True}
    found = solution(stream=True, stream_options=both)
    found.traces[1].text = "a" * 2000 + "</think>" + "b" * 2000
    usages = [chunk["usage"]["completion_tokens"] for chunk in found.chunks()]
    assert usages == sorted(usages) and usages[0] > 0 and usages[-1] == 30


def test_without_votes_the_best_there_is_is_shown():
    found = solution().outcome
    none = Outcome(found.problem, "cons", Decision(None), (), Ledger(), complete=False)
    running = {0: trace("a", 1, None), 1: trace("abc", 3, None), 2: trace("ab", 2, None)}
    assert representative(none, running) is running[1]
    assert representative(none, running | {3: trace("x", 1)}).text == "x"
    clustered = Outcome(
        found.problem, "p", Decision(None, (), ((1,), (0, 2))), (), Ledger(), complete=False
    )
    assert representative(clustered, running) is running[2]
    assert representative(none, {}) is None
    assert savings(Ledger(), 8) is None


# --- the request history ---------------------------------------------------------------------


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


# --- metrics --------------------------------------------------------------------------------

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
