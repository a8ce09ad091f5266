"""Tool calls read by vLLM's own parsers from the tokens of a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.generators.tool_calls import NOTHING, ToolCallReader
from actors.tokenizer import load_tokenizer
from tests.support.standin_models import byte_level

pytestmark = pytest.mark.live

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "add",
                "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
            },
        }
    ]
)
HERMES = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("model")
    return load_tokenizer(str(byte_level(folder, "PreTrainedTokenizerFast", ())))


@pytest.mark.parametrize(
    ("parser", "text", "beside"),
    [
        ("hermes", f"<think>{HERMES.replace('1', '2')}</think>I add. {HERMES}", "I add."),
        ("pythonic", "[add(a=1)]", ""),
        (
            "openai",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>',
            "",
        ),
        (
            "openai",
            "<|start|>assistant to=functions.add<|channel|>commentary json<|message|>"
            '{"a": 1}<|call|>',
            "",
        ),
    ],
)
def test_calls_are_read_behind_the_thought(tokenizer, parser, text, beside):
    ids = tokenizer.encode(text, add_special_tokens=False)
    read = ToolCallReader(parser, tokenizer).read(ids, TOOLS)
    (call,) = json.loads(read.calls)
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"]) == {"a": 1}
    assert read.beside == beside


@pytest.mark.parametrize("text", ["It is 3.", "<tool_call>{bad", f"<think>{HERMES}", ""])
def test_a_trace_without_calls_calls_nothing(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ToolCallReader("hermes", tokenizer).read(ids, TOOLS) == NOTHING


@pytest.mark.parametrize("parser", ["no such parser", "llama3_json"])
def test_a_parser_that_is_none_or_does_not_suit_the_tokenizer_is_named(tokenizer, parser):
    with pytest.raises(ValueError, match="tool_call_parser"):
        ToolCallReader(parser, tokenizer)
