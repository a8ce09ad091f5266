"""Checkpoints, where prefixes end, detected in a streaming trace (Section 4.1.1, Appendix C).

`tokens:500` ends the prefix with the 500th token; `reasoning_words:25` with the 25th reasoning
word. A detector reads each chunk once and buffers only an unfinished word, so its result does not
depend on the chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
"""Words that change the direction of a trace, likely starts of a step.

The paper names wait, thus and since, and no others (Section 4.1.1). Those three alone come 25 times
in one of seven traces of R1-Distill-Llama-8B on MATH-500. With this list the 25th comes after 1,800
characters (median), which is where the 500th token is: the two checkpoints cost about the same.
"""

Kind = Literal["tokens", "reasoning_words"]

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """A checkpoint, as configured. Only `reasoning_words` uses `words`.

    Raises:
        ValueError: `count` is not above 0, or one of `words` is not a word in lower case.
    """

    kind: Kind
    count: int
    words: frozenset[str] = field(default=REASONING_WORDS)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a checkpoint comes after 1 or more, not after {self.count}")
        if not self.words:
            raise ValueError("the list of reasoning words is empty: name at least one")
        for word in self.words:
            if not _WORD.fullmatch(word) or word != word.lower():
                raise ValueError(f"reasoning word {word!r} is not a single word in lower case")

    @classmethod
    def parse(cls, text: str, words: Iterable[str] | None = None) -> CheckpointSpec:
        """Read `tokens:K` or `reasoning_words:W`; `words`, in any case, replace the built-in list.

        Raises:
            ValueError: it is neither, or a word is not a single word.
        """
        match = re.fullmatch(r"(tokens|reasoning_words):0*([1-9][0-9]{0,8})", text)
        if not match:
            raise ValueError(
                f"checkpoint {text!r} is not understood: write tokens:K or reasoning_words:W with "
                "a whole number above 0"
            )
        chosen = REASONING_WORDS if words is None else frozenset(word.lower() for word in words)
        return cls(cast(Kind, match[1]), int(match[2]), chosen)

    def __str__(self) -> str:
        """The form that `parse` reads, given the same words."""
        return f"{self.kind}:{self.count}"


@dataclass(frozen=True, slots=True)
class Cut:
    """A checkpoint in a trace: its prefix is the first `num_chars` characters of the text.

    `num_tokens` counts the tokens up to the end of the chunk that holds the last of these
    characters: exactly the prefix's tokens where a chunk is a token, and no fewer elsewhere.
    """

    num_chars: int
    num_tokens: int


class CheckpointDetector(Protocol):
    """Takes a trace chunk by chunk, and returns the checkpoint once."""

    def feed(self, text: str, num_tokens: int) -> Cut | None:
        """Take the next chunk, of `num_tokens` tokens, and return the cut if it is reached."""
        ...

    def finish(self) -> Cut | None:
        """End the text, and with it its last word; return the cut if it is reached."""
        ...


def detector(spec: CheckpointSpec) -> CheckpointDetector:
    """Create a detector for one trace."""
    return TokenDetector(spec) if spec.kind == "tokens" else WordDetector(spec)


class TokenDetector:
    """Cuts after the chunk with the k-th token: exact when fed token by token."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self._count = spec.count
        self._num_chars = 0
        self._num_tokens = 0

    def feed(self, text: str, num_tokens: int) -> Cut | None:
        """Count tokens; return the cut at the k-th."""
        before = self._num_tokens
        self._num_chars += len(text)
        self._num_tokens += num_tokens
        if before < self._count <= self._num_tokens:
            return Cut(self._num_chars, self._num_tokens)
        return None

    def finish(self) -> Cut | None:
        """Return None: a shorter trace has no such checkpoint."""
        return None


class WordDetector:
    """Cuts at the end of the w-th reasoning word, known once the character after it is seen.

    A word is a run of letters, digits and underscores, so "wait" is none in "waiting" and
    "wait_2", and one in "Wait," and "wait's".
    """

    def __init__(self, spec: CheckpointSpec) -> None:
        self._words = spec.words
        self._missing = spec.count
        self._longest = max(map(len, spec.words))
        self._word = ""
        self._word_end = Cut(0, 0)
        self._num_chars = 0
        self._num_tokens = 0

    def feed(self, text: str, num_tokens: int) -> Cut | None:
        """Count the words of the chunk; its last word may continue in the next one."""
        start = self._num_chars
        self._num_chars += len(text)
        self._num_tokens += num_tokens
        if self._missing == 0 or not text:
            return None
        if not _WORD.match(text) and (cut := self._end_word()):
            return cut
        for match in _WORD.finditer(text):
            # One character more than the longest word tells that it is none of them.
            self._word = (self._word + match[0][: self._longest + 1])[: self._longest + 1]
            self._word_end = Cut(start + match.end(), self._num_tokens)
            if match.end() < len(text) and (cut := self._end_word()):
                return cut
        return None

    def finish(self) -> Cut | None:
        """Count the last word."""
        return self._end_word()

    def _end_word(self) -> Cut | None:
        word, self._word = self._word.lower(), ""
        if self._missing == 0 or word not in self._words:
            return None
        self._missing -= 1
        return self._word_end if self._missing == 0 else None


def truncate(
    text: str,
    spec: CheckpointSpec,
    *,
    token_texts: Sequence[str] | None = None,
    chars_per_token: float = 3.6,
) -> str | None:
    """The prefix of a recorded text; None where it ends before its checkpoint.

    For `tokens:k` it is exact where `token_texts` gives the text of each token, in order. Without
    them it is an approximation, k times `chars_per_token` characters: 3.6 is usual for reasoning
    in English with formulas.
    """
    if spec.kind == "reasoning_words":
        watch = detector(spec)
        cut = watch.feed(text, 0) or watch.finish()
        return None if cut is None else text[: cut.num_chars]
    if token_texts is not None:
        enough = spec.count <= len(token_texts)
        return "".join(token_texts[: spec.count]) if enough else None
    num_chars = round(spec.count * chars_per_token)
    return text[:num_chars] if num_chars <= len(text) else None
