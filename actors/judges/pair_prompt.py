"""Encode a pair of prefixes as the judge's prompt; the same in training and in serving."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from deepprune.answers.reply import judged_text
from deepprune.config import JudgePrompt
from deepprune.errors import UserError

Tokens = tuple[int, ...]


class PairPrompt:
    """Encodes pairs piece by piece, so that prompts with equal beginnings share their tokens.

    A pair longer than `max_tokens` is truncated: each prefix longer than half the room loses its
    middle, since a trace's start and its latest tokens tell most.

    Raises:
        UserError: an answer is not a single token of the judge's tokenizer.
    """

    def __init__(self, prompt: JudgePrompt, tokenizer: Any, max_tokens: int) -> None:
        self.same_id = answer_token_id(tokenizer, prompt.same_token)
        self.different_id = answer_token_id(tokenizer, prompt.different_token)
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.encode: Callable[[str], Tokens] = lru_cache(maxsize=8192)(self._prefix)
        """Encode a prefix, without the marks of thought and answer; cached."""
        self.around: Callable[[str], tuple[Tokens, ...]] = lru_cache(maxsize=256)(self._around)
        """Encode the template before, between and after a problem's prefixes; cached.

        A problem that leaves no room for prefixes is refused, and not cached.
        """

    def token_ids(self, problem: str, first: str, second: str) -> list[int]:
        """Encode the prompt of one pair, at most `max_tokens` long.

        Raises:
            UserError: the template and the problem leave no room for prefixes.
        """
        return self.assemble(self.encode(first), self.encode(second), self.around(problem))

    def assemble(self, a: Tokens, b: Tokens, around: tuple[Tokens, ...]) -> list[int]:
        """Join two encoded prefixes and the template around them."""
        head, middle, tail = around
        limit_a, limit_b = self.limits(len(a), len(b), around)
        return [*head, *_without_middle(a, limit_a), *middle, *_without_middle(b, limit_b), *tail]

    def limits(self, a: int, b: int, around: tuple[Tokens, ...]) -> tuple[int, int]:
        """Compute the tokens to keep of prefixes of `a` and `b` tokens."""
        room = self.room(around)
        if a + b <= room:
            return a, b
        half = room // 2
        return min(a, max(half, room - b)), min(b, max(room - half, room - a))

    def room(self, around: tuple[Tokens, ...]) -> int:
        """Compute the tokens that the template leaves to both prefixes.

        Raises:
            UserError: fewer than one for each.
        """
        room = self._max_tokens - sum(map(len, around))
        if room < 2:
            raise UserError(
                f"the judge's template and a problem take {self._max_tokens - room} tokens and "
                f"leave no room for prefixes: raise max_tokens above {self._max_tokens}"
            )
        return room

    def _around(self, problem: str) -> tuple[Tokens, ...]:
        pieces = prompt_pieces(self._prompt, self._tokenizer, problem)
        around = tuple(map(self._tokens, pieces))
        self.room(around)
        return around

    def _prefix(self, text: str) -> Tokens:
        return self._tokens(judged_text(text))

    def _tokens(self, text: str) -> Tokens:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))


def _without_middle(tokens: Tokens, limit: int) -> Tokens:
    if len(tokens) <= limit:
        return tokens
    end = limit // 2
    return tokens[: limit - end] + (tokens[-end:] if end else ())


def prompt_pieces(prompt: JudgePrompt, tokenizer: Any, problem: str) -> tuple[str, str, str]:
    """Split the prompt into the text before, between and after the two prefixes."""
    template = prompt.template
    if prompt.chat:
        template = tokenizer.apply_chat_template(
            [{"role": "user", "content": template}], add_generation_prompt=True, tokenize=False
        )
    elif prompt.add_special_tokens and tokenizer.bos_token:
        template = tokenizer.bos_token + template
    head, rest = template.split("{first}")
    middle, tail = rest.split("{second}")
    return (
        head.replace("{problem}", problem),
        middle.replace("{problem}", problem),
        tail.replace("{problem}", problem),
    )


def answer_token_id(tokenizer: Any, answer: str) -> int:
    """Look up the id of an answer token.

    Raises:
        UserError: the tokenizer does not encode it as one token.
    """
    ids = tokenizer.encode(answer, add_special_tokens=False)
    if len(ids) != 1:
        raise UserError(
            f"the judge's tokenizer has no single token for its answer {answer!r}: set "
            "judge.prompt.same_token and judge.prompt.different_token to words it has"
        )
    return int(ids[0])
