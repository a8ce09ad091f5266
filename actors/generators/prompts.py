"""Prompts: a conversation through the model's chat template, with what a request asks of it."""

from __future__ import annotations

import datetime
import inspect
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from actors.messages import PromptFacts, PromptRefused
from actors.tokenizer import prompt_token_ids, template_reads
from deepprune.answers.reply import closing_text, opens_thought
from deepprune.traces import Message, PromptOptions

TAIL_TOKENS = 16
"""Tokens at the end of a prompt that hold the mark that begins a thought, if it has one."""


class Prompts:
    """Encodes conversations for one model."""

    def __init__(
        self,
        tokenizer: Any,
        context: int,
        kwargs: Mapping[str, Any],
        date: datetime.date | None,
    ) -> None:
        self._tokenizer = tokenizer
        self.context = context
        self._kwargs = dict(kwargs)
        self._date = date
        # A client's argument must not replace one of the tokenizer's own: the template, say.
        self._reserved = {
            "messages",
            *inspect.signature(tokenizer.apply_chat_template).parameters,
            *tokenizer.special_tokens_map,
        }
        # All traces of a problem share its prompt.
        self.encode = lru_cache(maxsize=64)(self._encode)

    def check(self, chat: tuple[Message, ...], options: PromptOptions) -> PromptFacts:
        """Measure a prompt.

        Raises:
            PromptRefused: the chat template does not take what the request asks.
        """
        from jinja2 import TemplateError

        for name, _ in options.template_kwargs:
            if name in self._reserved or not self._reads(name):
                raise PromptRefused(
                    f"'chat_template_kwargs': the model's chat template takes no {name!r}",
                    "chat_template_kwargs",
                )
        if options.tools and not self._reads("tools"):
            raise PromptRefused("'tools': the model's chat template takes no tools", "tools")
        if options.reasoning_effort is not None and not self._effort(options.reasoning_effort):
            raise PromptRefused(
                "'reasoning_effort': the model's chat template does not read it", "reasoning_effort"
            )
        try:
            ids = self._encode(chat, options)
        except (TemplateError, TypeError) as error:
            raise PromptRefused(
                f"the model's chat template refuses it: {error}", "messages"
            ) from None
        return PromptFacts(len(ids), self.context, opens_thought(self._tail(ids)))

    def closing(self, ids: list[int], text: str, answer_start: str) -> list[int]:
        """Encode what closes the thought of a trace and begins its answer; empty where it is in no
        thought. `ids` is its prompt, `text` what it has said.
        """
        end = closing_text(text, self._tail(ids))
        if end is None:
            return []
        closing: list[int] = self._tokenizer.encode(end + answer_start, add_special_tokens=False)
        return closing

    def _tail(self, ids: list[int]) -> str:
        tail: str = self._tokenizer.decode(ids[-TAIL_TOKENS:])
        return tail

    def _encode(self, chat: tuple[Message, ...], options: PromptOptions) -> list[int]:
        kwargs = self._kwargs | dict(options.template_kwargs)
        if options.reasoning_effort is not None:
            kwargs |= self._effort(options.reasoning_effort)
        tools = json.loads(options.tools or "[]")
        return prompt_token_ids(self._tokenizer, chat, kwargs, self._date, tools)

    def _effort(self, effort: str) -> dict[str, Any]:
        """The template's own argument for an effort; none where it knows neither."""
        if self._reads("reasoning_effort"):
            return {"reasoning_effort": effort}
        return {"enable_thinking": effort != "none"} if self._reads("enable_thinking") else {}

    def _reads(self, name: str) -> bool:
        return template_reads(self._tokenizer, name)
