"""Prompts of one model: what its chat template takes of a request, and what it is asked to bear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.deploy.preflight import check
from actors.generators.prompts import Prompts
from actors.messages import PromptRefused
from actors.tokenizer import load_tokenizer
from deepprune.config import load_config
from deepprune.errors import UserError
from deepprune.traces import Message, PromptOptions
from tests.support.standin_models import byte_level

TEMPLATE = """
{%- for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}
{%- for m in messages %}<{{ m.role }}>{{ m.content }}
{%- for call in m.tool_calls or [] %}{{ call.function.arguments.a }}{% endfor %}
{%- endfor %}
{%- if enable_thinking | default(true) %}<think>
{% endif %}"""
CHAT = (Message("user", "Why?"),)
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {}}}])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("model")
    return load_tokenizer(str(byte_level(folder, "PreTrainedTokenizerFast", ())))


def prompts(tokenizer: Any, template: str = TEMPLATE) -> Prompts:
    tokenizer.chat_template = template
    return Prompts(tokenizer, 512, {}, None)


def test_a_prompt_is_measured(tokenizer):
    facts = prompts(tokenizer).check(CHAT, PromptOptions())
    assert facts.num_tokens > 0 and facts.context == 512
    assert facts.begins_in_thought
    quiet = PromptOptions(template_kwargs=(("enable_thinking", False),))
    assert not prompts(tokenizer).check(CHAT, quiet).begins_in_thought


def test_the_template_gets_tools_and_the_arguments_of_calls_as_objects(tokenizer):
    calls = json.dumps(
        [{"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 7}'}}]
    )
    chat = (*CHAT, Message("assistant", "", tool_calls=calls))
    made = prompts(tokenizer)
    ids = made.encode(chat, PromptOptions(tools=TOOLS))
    assert tokenizer.decode(ids).startswith("[add]<user>Why?<assistant>7")


def test_an_effort_turns_thinking_off_where_the_template_knows_no_more(tokenizer):
    made = prompts(tokenizer)
    assert made.check(CHAT, PromptOptions(reasoning_effort="low")).begins_in_thought
    assert not made.check(CHAT, PromptOptions(reasoning_effort="none")).begins_in_thought
    own = prompts(tokenizer, "{{ reasoning_effort | default('medium') }}")
    assert tokenizer.decode(own.encode(CHAT, PromptOptions(reasoning_effort="low"))) == "low"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (PromptOptions(tools=TOOLS), "tools"),
        (PromptOptions(reasoning_effort="low"), "reasoning_effort"),
        (PromptOptions(template_kwargs=(("other", 1),)), "chat_template_kwargs"),
        (PromptOptions(template_kwargs=(("chat_template", "x"),)), "chat_template_kwargs"),
        (PromptOptions(template_kwargs=(("messages", "x"),)), "chat_template_kwargs"),
    ],
    ids=str,
)
def test_what_the_template_does_not_take_is_refused_by_name(tokenizer, options, param):
    plain = prompts(tokenizer, "{{ messages[0].content }} {# chat_template #}")
    with pytest.raises(PromptRefused) as refused:
        plain.check(CHAT, options)
    assert refused.value.args[1] == param


def test_a_template_that_fails_says_so(tokenizer):
    with pytest.raises(PromptRefused, match="no such role"):
        prompts(tokenizer, "{{ raise_exception('no such role') }}").check(CHAT, PromptOptions())


def test_a_configured_argument_that_the_template_does_not_read_is_refused():
    config = load_config("cluster/laptop.yaml")
    arguments = {"chat_template_kwargs": {"reasoning_effort": "high"}}
    generator = config.generator.model_copy(update=arguments)
    with pytest.raises(UserError, match="of miniature/reasoner reads no 'reasoning_effort'"):
        check(config.model_copy(update={"generator": generator}), ())
    check(config, ())
