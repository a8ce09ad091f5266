"""Text of a model whose configuration names a wrong tokenizer class, from a real engine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.command import written_by
from tests.support.standin_engine import PROBLEM
from tests.support.standin_models import DEEPSEEK_TEMPLATE, byte_level

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def traces(tmp_path_factory) -> dict[str, Any]:
    special = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
    config = {"bos_token": special[0], "chat_template": DEEPSEEK_TEMPLATE, "legacy": True}
    folder = byte_level(tmp_path_factory.mktemp("standin"), "LlamaTokenizerFast", special, **config)
    return written_by("tests.support.standin_engine", folder)


def test_a_trace_is_the_text_of_its_tokens(traces):
    whole = traces["whole"]
    assert whole["num_tokens"] == 64
    assert whole["text"] == whole["decoded"] != ""
    assert len(whole["confidence"]) == 64 - 16 + 1
    assert all(reading > 0 for reading in whole["confidence"])


def test_a_resume_inside_a_character_repeats_nothing(traces):
    inside = traces["inside"]
    assert inside["text"] == inside["decoded"]
    assert PROBLEM not in inside["text"] and "<think>" not in inside["text"]


def test_a_stop_text_ends_the_trace_where_it_ends(traces):
    stopped, text = traces["stopped"], traces["whole"]["text"]
    assert stopped["finish_reason"] == "stop"
    assert stopped["text"] == text.partition(traces["stop"])[0], "the same seed, the same trace"


def test_aborted_traces_are_billed_what_the_engine_itself_counts(traces):
    bills = traces["bills"]
    assert len(set(bills)) > 3, "they were aborted at different tokens"
    assert sum(bills) == traces["counted"] > 0
