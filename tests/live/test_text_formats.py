"""Tokenizers, chat templates and thought formats of several models, from one real engine in bf16.

The weights are the miniature's, so the texts of the stand-ins are gibberish: what is tested is that
texts, tokens, parts and bills are right. The miniature itself answers where its thought is closed.
"""

from __future__ import annotations

from typing import Any

import pytest

from deepprune.answers.reply import ANSWER_START, closing_text, judged_text, split_reply
from tests.support.command import written_by
from tests.support.standin_models import STANDINS

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, Any]:
    return written_by("tests.support.text_formats", tmp_path_factory.mktemp("formats"))


def test_a_thought_that_is_closed_gives_an_answer_within_the_budget(found):
    kept, cut = found["miniature"]["closed"], found["miniature"]["cut"]
    assert len(kept) == len(cut) == 16
    closed = [trace for trace in kept if trace["closed_tokens"] is not None]
    assert len(closed) >= 6, "the others ended before"
    for trace in closed:
        assert trace["closed_tokens"] == 110 and trace["num_tokens"] <= 130
        assert trace["text"] == trace["decoded"]
        assert f"\n</think>\n\n{ANSWER_START}" in trace["text"]
        assert trace["num_ids"] > trace["num_tokens"], "what closes it is not generated"
    assert sum(trace["answer"] is not None for trace in closed) > len(closed) / 2
    assert {trace["answer"] for trace in cut if trace["finish_reason"] == "length"} == {None}


def test_a_judge_in_bf16_has_no_ties(found):
    assert len(set(found["nearby"])) > 0.95 * len(found["nearby"])


@pytest.mark.parametrize("model", STANDINS)
def test_a_trace_is_paused_judged_resumed_and_closed(found, model):
    traces = found[model]
    assert len(traces["p_same"]) == 3 and all(0 < p < 1 for p in traces["p_same"])
    assert traces["judge_tokens"] > 0
    num_closed = 0
    for prefix, trace in zip(traces["prefixes"], traces["closed"], strict=True):
        opening = STANDINS[model].opening
        assert prefix["text"] == prefix["decoded"] and prefix["text"].startswith(opening)
        assert trace["text"] == trace["decoded"] and trace["text"].startswith(prefix["text"])
        if prefix["finish_reason"] is None:
            assert prefix["num_tokens"] == prefix["prefix_tokens"] == 60
            assert not judged_text(prefix["prefix"]).startswith(("<", "["))
        if trace["closed_tokens"] is None:  # by chance it ended its thought, or its turn
            assert trace["finish_reason"] == "stop" or closing_text(trace["text"]) is None
            continue
        num_closed += 1
        assert trace["closed_tokens"] == 100 and trace["num_tokens"] <= 160
        reply = split_reply(trace["text"])
        assert reply.content is not None and reply.content.startswith(ANSWER_START)
        assert reply.reasoning.startswith(opening)
    assert num_closed > 0


@pytest.mark.parametrize("model", STANDINS)
def test_texts_are_collected_and_answers_extracted(found, model):
    traces = found[model]
    assert traces["answered"]["answer"] == "42"
    assert traces["answered"]["text"] == traces["answered"]["decoded"]
    for trace in traces["collected"]:
        assert trace["text"] == trace["decoded"] and 0 < trace["num_tokens"] <= 30
