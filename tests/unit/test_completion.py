"""What a client gets of a solution: text, chunks, usage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.driver.live_trace import LiveTrace
from actors.serving.completion import Solution, representative, savings
from deepprune.events import Decision
from deepprune.ledger import Fate, Ledger, TraceEnd
from deepprune.session import Outcome
from tests.unit.test_chat_request import read


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
