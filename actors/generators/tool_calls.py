"""Read the tool calls of a trace with vLLM's parser for its model."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepprune.answers.reply import split_reply

logger = logging.getLogger(__name__)

HARMONY = "openai"
"""vLLM's name for GPT-OSS, whose parser it has elsewhere: its calls are messages of a channel."""
_HARMONY_CALL = re.compile(
    r"to=functions\.([\w.-]+)[^<]*(?:<\|channel\|>[^<]*)?(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(.*?)(?:<\|call\|>|<\|end\|>|\Z)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of a trace as a JSON list in OpenAI's form, without ids, and the text besides."""

    calls: str
    beside: str


NOTHING = Calls("", "")


class ToolCallReader:
    """Reads calls from the tokens of finished traces.

    Raises:
        ValueError: vLLM has no parser of that name, or it does not suit the tokenizer.
    """

    def __init__(self, parser: str, tokenizer: Any) -> None:
        from vllm.tool_parsers import ToolParserManager

        self._tokenizer = tokenizer
        self._is_harmony = parser == HARMONY
        try:
            self._parser = ToolParserManager.get_tool_parser(parser)
        except KeyError:
            raise ValueError(
                f"generator.tool_call_parser: vLLM has no parser {parser!r} of tool calls"
            ) from None
        try:
            self._parser(tokenizer)
        except RuntimeError as error:
            raise ValueError(f"generator.tool_call_parser: {error}") from None

    def read(self, token_ids: Sequence[int], tools: str) -> Calls:
        """Read the calls; none where the trace calls nothing, or what cannot be read.

        Args:
            token_ids: of the whole trace.
            tools: what the request offers, a JSON list in OpenAI's form.
        """
        text = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        if self._is_harmony:
            found = [(match[1], match[2].strip()) for match in _HARMONY_CALL.finditer(text)]
            return _as_calls(found, "")
        content = split_reply(text).content
        return NOTHING if content is None else self._parsed(content, tools)

    def _parsed(self, content: str, tools: str) -> Calls:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        offered = json.loads(tools)
        request = ChatCompletionRequest(messages=[], tools=offered, tool_choice="auto")
        parser = self._parser(self._tokenizer, request.tools)
        try:
            read = parser.extract_tool_calls(content, request)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            logger.warning("cannot read the tool calls of a trace: %s", error)
            return NOTHING
        found = [(call.function.name, call.function.arguments) for call in read.tool_calls]
        return _as_calls(found, (read.content or "").strip()) if read.tools_called else NOTHING


def _as_calls(found: Sequence[tuple[str, str]], beside: str) -> Calls:
    if not found:
        return NOTHING
    calls = [
        {"type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in found
    ]
    return Calls(json.dumps(calls), beside)
