"""Answers in the form that a request asks for: JSON, patterns, tool calls; hostile ones too."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.driver.live_trace import LiveTrace
from deepprune.answers import extract_answer
from deepprune.answers.forms import (
    MAX_FOUND,
    AnswerPattern,
    called_functions,
    canonical_json,
    find_json,
    find_pattern,
)
from deepprune.config import SamplingConfig
from deepprune.policy_config import PlusConfig
from deepprune.traces import Problem
from deepprune.voting import Vote
from tests.unit.test_chat_request import OFFERS, read, refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON, indent=st.none() | st.integers(0, 3))
def test_equal_json_is_spelled_alike(value, indent):
    spelled = canonical_json(json.dumps(value, indent=indent))
    assert spelled is not None and json.loads(spelled) == value
    assert canonical_json(spelled) == spelled


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"b": 1.0, "a": [1, 2]}', '{"a":[1,2],"b":1}'),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', '{"a":1}'),
        ('It is {"a": {"b": "}"}}.', '{"a":{"b":"}"}}'),
        ("7", "7"),
        ("no json", None),
        ("NaN", None),
        ('{"a": 1e999}', None),
        ('"\\ud800"', None),
        ("[" * 100_000, None),
        ("", None),
    ],
    ids=lambda text: repr(text)[:24],
)
def test_json_is_found_in_an_answer(content, expected):
    assert find_json(content) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [(r"\d+", "345"), (r"b=(\d)", "2"), (r"(?i)RESULT: (\w+)", "Yes"), ("z", None), ("^", None)],
)
def test_the_last_match_of_a_pattern_counts(pattern, expected):
    assert find_pattern("b=1, b=2. Result: Yes 345", AnswerPattern(pattern)) == expected


@pytest.mark.parametrize("pattern", ["(", "a{1000}{1000}", "\\", "(?=a)", "[", "(?P<x>"])
def test_a_pattern_that_is_none_is_refused(pattern):
    with pytest.raises(ValueError, match="valid pattern"):
        find_pattern("a", AnswerPattern(pattern))
    assert refused(deepprune={"answer": {"regex": pattern}}).status == 400


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*b", "((a{0,30}){0,30})b", "(a|a)*b"])
def test_no_pattern_takes_long(pattern):
    """A backtracking matcher would take longer than anybody waits."""
    found = find_pattern("a" * 200_000, AnswerPattern(pattern))
    assert found is None or len(found) <= MAX_FOUND


def test_answers_are_read_in_the_form_that_is_asked_for():
    text = '<think>{"a": 0}</think>{"a": 1, "b": "x"}'
    assert extract_answer(text, "json", finish_reason="stop") == '{"a":1,"b":"x"}'
    assert extract_answer(text, "json", finish_reason="length") is None
    assert extract_answer(text, AnswerPattern(r'"b": "(\w)"'), finish_reason="stop") == "x"
    assert extract_answer("<think>a 1", AnswerPattern(r"\d"), finish_reason="stop") is None


def test_json_votes_by_equality():
    vote = Vote(
        [(0, '{"a":1,"b":"x"}'), (1, '{"b": "x", "a": 1.0}'), (2, '{"a":1,"b":"X"}'), (3, '["x"]')]
    )
    assert [samples for _, samples in vote.groups] == [(0, 1), (2,), (3,)]


def calls(*functions: tuple[str, str]) -> str:
    return json.dumps(
        [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in functions]
    )


def test_tool_calls_vote_by_name_and_arguments():
    one = called_functions(calls(("add", '{"a": 1, "b": 2}')))
    assert one == called_functions(calls(("add", '{"b":2,"a":1.0}')))
    assert one != called_functions(calls(("sub", '{"a": 1, "b": 2}')))
    assert one != called_functions(calls(("add", '{"a": 1, "b": 3}')))
    assert called_functions(calls(("add", "{bad"))) == '[{"arguments":"{bad","name":"add"}]'
    assert called_functions(calls(("now", ""))) == '[{"arguments":{},"name":"now"}]'
    trace = LiveTrace(0, text="<tool_call>…", finish_reason="stop", tool_calls=calls(("now", "")))
    trace.read_answer(Problem("a/b", "?"), SamplingConfig())
    assert trace.answer == '[{"arguments":{},"name":"now"}]'


# --- requests -----------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}


def formatted(schema: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


def test_a_request_says_what_an_answer_is():
    assert read(deepprune={"answer": "choice"}).problem.answer_kind == "choice"
    spec = read(deepprune={"answer": {"regex": r"(\d+)"}})
    assert spec.problem.answer_kind == AnswerPattern(r"(\d+)")
    assert spec.expects_answer and not read().expects_answer
    assert refused(deepprune={"answer": "poem"}).status == 400


def test_a_response_format_reaches_the_engine_and_no_trace_is_paused():
    spec = read(response_format=formatted(SCHEMA))
    assert json.loads(spec.sampling.json_schema or "") == SCHEMA
    assert spec.problem.answer_kind == "json" and spec.expects_answer
    assert (spec.policy.name, spec.policy.num_traces) == ("adaptive", 64)
    assert read(response_format={"type": "json_object"}).sampling.json_schema is not None
    assert read(response_format={"type": "text"}).sampling.json_schema is None
    cons = read(response_format=formatted(SCHEMA), deepprune={"policy": "cons"})
    assert cons.policy.name == "cons"
    voting = PlusConfig(name="deepprune+", num_traces=8)
    offers = {
        "m": replace(OFFERS["m"], policies={"deepprune+": voting}, default_policy="deepprune+")
    }
    assert read(offers, response_format=formatted(SCHEMA)).policy == voting, "it asks no judge"
    asked = {"policy": "deepprune"}
    error = refused(response_format=formatted(SCHEMA), deepprune=asked)
    assert error.detail.param == "deepprune.policy"


def nested(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(100),
        nested(400),
        {"enum": list(range(5000))},
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "items": {}, "minItems": 1e12},
        {"type": "string", "pattern": "(a{1000}){1000}"},
        {"type": "string", "pattern": "("},
        {"$ref": "https://example.com/schema"},
        {"description": "x" * 40_000},
        [],
        "text",
    ],
    ids=lambda schema: repr(schema)[:30],
)
def test_a_hostile_schema_is_refused(schema):
    error = refused(response_format=formatted(schema))
    assert error.detail.param is not None and error.detail.param.startswith("response_format")
    bad = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert refused(tools=[bad]).detail.param.startswith("tools")


def test_tools_are_refused_where_no_parser_reads_the_calls():
    assert refused(tools=[TOOL]).detail.param == "tools"
    assert read(tools=[TOOL], tool_choice="none").problem.prompt_options.tools == ""
    assert refused(tools=[{"type": "function"}]).detail.code == "unsupported_parameter"
    offers = {"m": replace(OFFERS["m"], tools=True)}
    assert refused(offers, tools=[{"type": "function"}]).detail.param == "tools[0].function"
    spec = read(offers, tools=[TOOL], tool_choice="auto", parallel_tool_calls=True)
    assert json.loads(spec.problem.prompt_options.tools) == [TOOL]
    assert not spec.ask_first, "a trace that calls a tool has an answer"
    assert refused(tools=[TOOL], tool_choice="required").detail.param == "tool_choice"
