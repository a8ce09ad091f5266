"""What a prefix and the rest of a trace cost, as means over those seen."""

from __future__ import annotations

from statistics import fmean

from deepprune.checkpoints import CheckpointSpec

_TOKENS_PER = {"tokens": 1, "reasoning_words": 20}
UNSEEN_LENGTH = 3.0
"""Length of a trace in checkpoints, expected before any has finished."""


class TokenCosts:
    """Mean costs in tokens; a token read by the judge counts as `judge_price` generated ones."""

    def __init__(self, checkpoint: CheckpointSpec, judge_price: float) -> None:
        self._checkpoint_tokens = float(_TOKENS_PER[checkpoint.kind] * checkpoint.count)
        self._judge_price = judge_price
        self._prefixes: list[int] = []
        self._traces: list[int] = []
        self._judge_tokens = 0

    def add_prefix(self, num_tokens: int) -> None:
        """Count a prefix that reached its checkpoint."""
        self._prefixes.append(num_tokens)

    def add_trace(self, num_tokens: int) -> None:
        """Count a finished trace."""
        self._traces.append(num_tokens)

    def add_judging(self, num_tokens: int) -> None:
        """Count tokens that the judge computed."""
        self._judge_tokens += num_tokens

    def means(self) -> tuple[float, float]:
        """Tokens of a judged prefix, and from there to a trace's end."""
        seen = self._prefixes
        prefix = fmean(seen) if seen else self._checkpoint_tokens
        whole = fmean(self._traces) if self._traces else UNSEEN_LENGTH * prefix
        judging = self._judge_price * self._judge_tokens / max(1, len(seen))
        return prefix + judging, max(whole - prefix, 0.1 * prefix)
