"""The ledger: every token that was generated or judged, by its fate, and every second.

Invariant: `generated_tokens` is the sum over the fates, and each launched trace has one entry.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Fate(StrEnum):
    """How a trace ended. Every launched trace ends exactly once, in one of these ways."""

    FINISHED = "finished"
    CANCELLED_AFTER_CHECKPOINT = "cancelled_after_checkpoint"
    CANCELLED_BEFORE_CHECKPOINT = "cancelled_before_checkpoint"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TraceEnd:
    """The one record that a launched trace leaves.

    `num_tokens` are the tokens it generated in all; `late_tokens` those among them that its engine
    generated after the decision to cancel it, before the cancel took effect.
    """

    sample: int
    fate: Fate
    reason: str
    num_tokens: int
    late_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The bill of one problem, or of many added up. Tokens are counts, seconds are seconds.

    `trace_s` adds up the time that traces held an engine slot, `judge_s` the time of judge calls;
    both run side by side, so either may exceed `wall_s`.
    """

    finished_tokens: int = 0
    cancelled_after_checkpoint_tokens: int = 0
    cancelled_before_checkpoint_tokens: int = 0
    lost_tokens: int = 0
    late_tokens: int = 0
    prompt_computed_tokens: int = 0
    prompt_cached_tokens: int = 0
    judge_computed_tokens: int = 0
    judge_cached_tokens: int = 0
    judge_pairs: int = 0
    finished_traces: int = 0
    cancelled_after_checkpoint_traces: int = 0
    cancelled_before_checkpoint_traces: int = 0
    lost_traces: int = 0
    trace_s: float = 0.0
    judge_s: float = 0.0
    wall_s: float = 0.0

    @property
    def generated_tokens(self) -> int:
        """All tokens the generators sampled, whatever became of them."""
        return (
            self.finished_tokens
            + self.cancelled_after_checkpoint_tokens
            + self.cancelled_before_checkpoint_tokens
            + self.lost_tokens
        )

    @property
    def launched_traces(self) -> int:
        """All traces that were started."""
        return (
            self.finished_traces
            + self.cancelled_after_checkpoint_traces
            + self.cancelled_before_checkpoint_traces
            + self.lost_traces
        )

    @property
    def cancelled_traces(self) -> int:
        """Traces ended by a decision of the policy."""
        return self.cancelled_after_checkpoint_traces + self.cancelled_before_checkpoint_traces

    def __add__(self, other: Ledger) -> Ledger:
        """Return the two bills added up, entry by entry."""
        return Ledger(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Ledger)}
        )
