"""What a client may send: read, bounded, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.serving.chat import ChatRequest
from actors.serving.errors import ApiError
from actors.serving.parameters import InertParameters, Only
from actors.serving.spec import Offer, RequestSpec, read_chat_request
from actors.serving.validation import explained
from deepprune.config import SamplingConfig
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.serve_config import CeilingsConfig
from deepprune.traces import PLAIN_PROMPT, Message

OFFERS = {
    "m": Offer(
        {"deepprune": DeepPruneConfig(num_traces=64), "cons": ConsConfig(num_traces=64)},
        "deepprune",
        SamplingConfig(temperature=0.7, max_tokens=1000),
        CeilingsConfig(n=128, max_total_tokens=50_000, deadline_s=60),
    )
}
ASK = [{"role": "user", "content": "What is 1 + 1?"}]


def read(offers: Mapping[str, Offer] = OFFERS, **fields: Any) -> RequestSpec:
    """Read a request as a route does."""
    try:
        request = ChatRequest.model_validate({"model": "m", "messages": ASK} | fields)
    except ValidationError as error:
        raise explained(error.errors()) from None
    return read_chat_request(request, offers)


def refused(offers: Mapping[str, Offer] = OFFERS, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        read(offers, **fields)
    shape = error.value.body["error"]
    assert set(shape) == {"message", "type", "param", "code"}
    assert shape["type"] == "invalid_request_error" and shape["message"]
    return error.value


def test_a_plain_request_gets_the_defaults():
    spec = read()
    assert spec.policy == DeepPruneConfig(num_traces=64)
    assert spec.sampling == OFFERS["m"].sampling
    assert (spec.deadline_s, spec.max_total_tokens) == (60, 50_000)
    assert not (spec.stream or spec.include_usage or spec.return_clusters)
    assert spec.problem.text == "What is 1 + 1?"
    assert spec.problem.chat == (Message("user", "What is 1 + 1?"),)
    assert read().seed != read().seed, "each request draws anew"


def test_sampling_parameters_are_honoured():
    asked = {"temperature": 1, "top_p": 0.5, "top_k": 20, "max_tokens": 7, "seed": -3}
    spec = read(**asked, stop="END", stream=True, stream_options={"include_usage": True})
    expected = {"temperature": 1, "top_p": 0.5, "top_k": 20, "max_tokens": 7, "stop": ("END",)}
    assert spec.sampling == SamplingConfig(**expected)
    assert (spec.seed, spec.stream, spec.include_usage) == (-3, True, True)
    assert read(max_completion_tokens=9).sampling.max_tokens == 9
    assert read(stop=["a", "b"]).sampling.stop == ("a", "b")
    assert read(stop=None, seed=None, top_p=None).sampling == OFFERS["m"].sampling


def test_controls_change_the_policy():
    spec = read(deepprune={"n": 8, "tau": 0.6, "deadline_s": 2, "max_total_tokens": 400})
    assert spec.policy == DeepPruneConfig(num_traces=8, tau=0.6)
    assert (spec.deadline_s, spec.max_total_tokens) == (2, 400)
    assert spec.sampling.max_tokens == 400, "no trace may be longer than all together"
    assert read(deepprune={"policy": "cons"}).policy == ConsConfig(num_traces=64)


def test_greedy_traces_are_all_the_same_so_one_is_enough():
    assert read(temperature=0).policy == ConsConfig(num_traces=1)
    assert read(temperature=0, deepprune={"n": 3}).policy.num_traces == 3


def test_a_conversation_goes_to_the_model_whole_and_to_the_judge_in_words():
    turns = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "1 "}, {"type": "text", "text": "+1"}],
        },
        # As our own answers come back from OpenAI's client.
        {"role": "assistant", "content": "2", "refusal": None, "tool_calls": None, "audio": None},
        {"role": "user", "content": "And 2 + 2?"},
    ]
    problem = read(messages=turns).problem
    assert [message.role for message in problem.chat] == ["system", "user", "assistant", "user"]
    assert problem.chat[1].content == "1 +1"
    assert problem.text == "User: 1 +1\n\nAssistant: 2\n\nUser: And 2 + 2?"
    assert read(messages=[turns[0], turns[3]]).problem.text == "And 2 + 2?"


def test_turns_of_reasoning_models_and_their_tools_come_back():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "user", "content": "3+4?", "name": "bob"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": "7", "reasoning": "so", "reasoning_details": []},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
        {"role": "user", "content": "Sure?"},
    ]
    chat = read(messages=turns).problem.chat
    assert chat[0] == Message("user", "3+4?", name="bob")
    assert chat[1].as_dict() == {
        "role": "assistant",
        "content": "",
        "reasoning": "hm",
        "reasoning_content": "hm",
        "tool_calls": [call],
    }
    assert chat[2].as_dict() == {"role": "tool", "content": "", "tool_call_id": "c1"}
    assert chat[3].reasoning == "so"
    assert read(messages=turns[:3]).problem.chat[-1].role == "tool"


def test_arguments_of_the_chat_template_come_with_the_prompt():
    spec = read(chat_template_kwargs={"enable_thinking": False}, reasoning_effort="low")
    options = spec.problem.prompt_options
    assert dict(options.template_kwargs) == {"enable_thinking": False}
    assert options.reasoning_effort == "low"
    assert read(chat_template_kwargs={}).problem.prompt_options == PLAIN_PROMPT
    assert refused(chat_template_kwargs={"a": {"b": 1}}).detail.param.startswith("chat_template")
    assert refused(reasoning_effort="huge").detail.param == "reasoning_effort"


def test_vllms_extras_at_values_that_change_nothing_are_accepted():
    spec = read(
        top_k=-1,
        min_tokens=0,
        stop_token_ids=None,
        best_of=1,
        use_beam_search=False,
        chat_template_kwargs=None,
        add_generation_prompt=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
        return_token_ids=True,
    )
    assert spec.sampling.top_k == 0 and spec.continuous_usage


INERT = {
    name: next((meta for meta in field.metadata if isinstance(meta, Only)), None)
    for name, field in InertParameters.model_fields.items()
}


@pytest.mark.parametrize("name", sorted(name for name, only in INERT.items() if only))
def test_what_is_not_supported_is_refused_by_name_unless_it_makes_no_difference(name):
    for value in INERT[name].values:
        assert read(**{name: value}).model == "m"
    error = refused(**{name: {"something": 1}})
    assert (error.status, error.detail.param) == (400, name)
    assert error.detail.code == "unsupported_parameter"
    assert name in error.detail.message


@pytest.mark.parametrize("name", sorted(name for name, only in INERT.items() if not only))
def test_what_cannot_change_the_answer_is_ignored(name):
    assert read(**{name: {"something": 1}}).model == "m"


def test_true_is_not_one():
    assert refused(n=True).detail.param == "n"
    assert refused(logprobs=0).detail.param == "logprobs"


def test_what_makes_no_difference_is_passed_over():
    assert read(user="u", metadata={"a": "b"}, store=True, service_tier="auto").model == "m"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 7}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "nom": "n"}]}, "messages[0].nom"),
        ({"messages": [*ASK, {"role": "assistant", "content": "2"}]}, "messages"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1001}, "max_tokens"),
        ({"max_completion_tokens": 1001}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"max_tokens": 5.5}, "max_tokens"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": list("abcde")}, "stop"),
        ({"stop": 5}, "stop"),
        ({"seed": 2**70}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"surprise": 1}, "surprise"),
        ({"deepprune": []}, "deepprune"),
        ({"deepprune": {"m": 1}}, "deepprune.m"),
        ({"deepprune": {"n": 0}}, "deepprune.n"),
        ({"deepprune": {"n": 129}}, "deepprune.n"),
        ({"deepprune": {"deadline_s": 61}}, "deepprune.deadline_s"),
        ({"deepprune": {"max_total_tokens": 50_001}}, "deepprune.max_total_tokens"),
        ({"deepprune": {"policy": "oracle"}}, "deepprune.policy"),
        ({"deepprune": {"policy": "cons", "tau": 0.5}}, "deepprune.tau"),
        ({"deepprune": {"tau": 1}}, "deepprune.tau"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(fields, param):
    error = refused(**fields)
    assert (error.status, error.detail.param) == (400, param)


def test_an_unknown_model_is_not_found():
    error = refused(model="other")
    assert (error.status, error.detail.code) == (404, "model_not_found")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["messages", "temperature", "stop", "seed", "deepprune", "stream_options", "n", "tools", "x"]
)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_is_either_understood_or_refused(fields):
    try:
        num_traces, status = read(**fields).policy.num_traces, 200
    except ApiError as error:
        num_traces, status = 0, error.status
    assert status in (200, 400) and num_traces <= 128


CLOSING = {"m": replace(OFFERS["m"], sampling=SamplingConfig(max_tokens=1000, answer_tokens=500))}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, 250),
        ({"max_tokens": 400}, 100),
        ({"deepprune": {"max_total_tokens": 400}}, 100),
        ({"thinking_token_budget": 300}, 700),
        ({"thinking_token_budget": 0}, 1000),
        ({"thinking_token_budget": 5000}, 250),
        ({"thinking_token_budget": -1}, 0),
        ({"response_format": {"type": "json_object"}}, 0),
    ],
)
def test_tokens_are_kept_for_the_answer(fields, kept):
    assert read(CLOSING, **fields).sampling.answer_tokens == kept


def test_an_endpoint_cannot_close_a_thought():
    assert read(thinking_token_budget=-1).sampling.answer_tokens is None
    assert refused(thinking_token_budget=5).body["error"]["param"] == "thinking_token_budget"
