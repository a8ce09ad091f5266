"""Where a prefix ends: checkpoints, found while a trace streams (Section 4.1.1, Appendix C).

`tokens:500` ends it with the 500th token; `reasoning_words:25` with the 25th reasoning word.
A detector looks at each chunk once, keeps only the word it is in the middle of, and so does not
mind how the text is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

REASONING_WORDS = frozenset(
    {
        *("wait", "hmm", "actually", "but", "however", "alternatively"),  # turning
        *("thus", "therefore", "hence", "so", "since", "because"),  # concluding
        *("if", "then", "suppose", "assume", "let"),  # supposing
        *("first", "next", "now", "finally"),  # ordering
        *("check", "verify", "maybe", "perhaps"),  # doubting
    }
)
"""Words that drive the direction of a trace. The paper names wait, thus and since, "and so on"."""

Kind = Literal["tokens", "reasoning_words"]


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """A checkpoint as it is written in a configuration. `words` are compared in lower case."""

    kind: Kind
    count: int
    words: frozenset[str] = field(default=REASONING_WORDS)

    @classmethod
    def parse(cls, text: str, words: Iterable[str] | None = None) -> CheckpointSpec:
        """Read `tokens:K` or `reasoning_words:W`; `words` replaces the built-in list.

        Raises:
            ValueError: it is neither.
        """
        kind, _, count = text.partition(":")
        known = kind in ("tokens", "reasoning_words")
        if not (known and count.isascii() and count.isdigit() and int(count) > 0):
            raise ValueError(
                f"checkpoint {text!r} is not understood: write tokens:K or reasoning_words:W with "
                "a whole number above 0"
            )
        chosen = REASONING_WORDS if words is None else frozenset(word.lower() for word in words)
        return cls(cast(Kind, kind), int(count), chosen)

    def __str__(self) -> str:
        """The form that `parse` reads."""
        return f"{self.kind}:{self.count}"


@dataclass(frozen=True, slots=True)
class Cut:
    """A checkpoint in a trace: its prefix is the first `num_chars` characters of the text.

    `num_tokens` counts the tokens fed up to and including the chunk in which it showed.
    """

    num_chars: int
    num_tokens: int


class CheckpointDetector(Protocol):
    """Told a trace chunk by chunk, reports the checkpoint once."""

    def feed(self, text: str, num_tokens: int) -> Cut | None:
        """Take the next chunk, `num_tokens` long, and return the cut if it has been reached."""
        ...

    def finish(self) -> Cut | None:
        """The text has ended, and with it its last word."""
        ...


def detector(spec: CheckpointSpec) -> CheckpointDetector:
    """A fresh detector for one trace."""
    return TokenDetector(spec) if spec.kind == "tokens" else WordDetector(spec)


class TokenDetector:
    """Cuts after the chunk that brings the k-th token: exact when fed token by token."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self._count = spec.count
        self._num_chars = 0
        self._num_tokens = 0

    def feed(self, text: str, num_tokens: int) -> Cut | None:
        """Count tokens."""
        before = self._num_tokens
        self._num_chars += len(text)
        self._num_tokens += num_tokens
        if before < self._count <= self._num_tokens:
            return Cut(self._num_chars, self._num_tokens)
        return None

    def finish(self) -> Cut | None:
        """A trace with fewer tokens has no such checkpoint."""
        return None


class WordDetector:
    """Cuts at the end of the w-th reasoning word, known once the character after it is seen."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self._words = spec.words
        self._missing = spec.count
        self._longest = max(map(len, spec.words), default=0)
        self._word = ""
        self._num_chars = 0
        self._num_tokens = 0

    def feed(self, text: str, num_tokens: int) -> Cut | None:
        """Look at each character once."""
        self._num_tokens += num_tokens
        cut = None
        for offset, character in enumerate(text):
            if character.isalpha():
                if len(self._word) <= self._longest:
                    self._word += character
            elif self._word:
                cut = cut or self._end_word(self._num_chars + offset)
        self._num_chars += len(text)
        return cut

    def finish(self) -> Cut | None:
        """Count the last word."""
        return self._end_word(self._num_chars)

    def _end_word(self, at: int) -> Cut | None:
        if self._word.lower() in self._words:
            self._missing -= 1
            if self._missing == 0:
                self._word = ""
                return Cut(at, self._num_tokens)
        self._word = ""
        return None


def truncate(text: str, spec: CheckpointSpec, chars_per_token: float = 3.6) -> str | None:
    """The prefix of a recorded text; None where it ends before its checkpoint.

    Without token ids, `tokens:k` is approximated by k times `chars_per_token` characters.
    """
    if spec.kind == "tokens":
        num_chars = round(spec.count * chars_per_token)
        return text[:num_chars] if num_chars < len(text) else None
    watch = detector(spec)
    cut = watch.feed(text, 0) or watch.finish()
    return None if cut is None else text[: cut.num_chars]
