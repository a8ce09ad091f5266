"""The ledger: tokens generated and judged, by fate, and seconds.

Invariant: `generated_tokens` is the sum over the fates, and each launched trace has one entry.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Fate(StrEnum):
    """The ways a trace can end. Every launched trace ends exactly once."""

    FINISHED = "finished"
    CANCELLED_AFTER_CHECKPOINT = "cancelled_after_checkpoint"
    CANCELLED_BEFORE_CHECKPOINT = "cancelled_before_checkpoint"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TraceEnd:
    """The end of a launched trace.

    `num_tokens` counts all its tokens; `late_tokens` those of them that its engine generated
    between the decision to cancel and its effect.
    """

    sample: int
    fate: Fate
    reason: str
    num_tokens: int
    late_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The costs of one problem, or the sum of several.

    `trace_s` sums the seconds that traces held an engine slot, `judge_s` those of judge calls. Both
    run in parallel, so either may exceed `wall_s`.
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
        """All tokens that the generators sampled, of every fate."""
        return sum(getattr(self, f"{fate}_tokens") for fate in Fate)

    @property
    def launched_traces(self) -> int:
        """All launched traces."""
        return sum(getattr(self, f"{fate}_traces") for fate in Fate)

    @property
    def cancelled_traces(self) -> int:
        """Traces that the policy cancelled."""
        return self.cancelled_after_checkpoint_traces + self.cancelled_before_checkpoint_traces

    def __add__(self, other: Ledger) -> Ledger:
        """Add two ledgers field by field."""
        return Ledger(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Ledger)}
        )
