"""Events and commands: the interface between drivers and policies.

A driver reports events to a policy, which returns commands. Neither has a trace's text: a policy
decides on sample indices, answers and P(same).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """A running trace has generated `num_tokens` in all.

    `confidence` has its group confidences since the last event, where the generator records them.
    """

    sample: int
    num_tokens: int
    confidence: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PrefixReady:
    """A trace has reached its checkpoint, with `num_tokens` generated."""

    sample: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Judged:
    """P(same) of `sample` with each member that it was compared with, and the cost."""

    sample: int
    p_same: Mapping[int, float]
    computed_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgeLost:
    """The judge failed to score `sample`, after all retries."""

    sample: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A trace has finished; `answer` is None if it has none."""

    sample: int
    answer: str | None
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A trace is lost: its generators died, after all retries."""

    sample: int
    error: str = ""


Event = Progress | PrefixReady | Judged | JudgeLost | Finished | Failed


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a trace: up to its checkpoint, or `to_end`."""

    sample: int
    to_end: bool = False


@dataclass(frozen=True, slots=True)
class Judge:
    """Score a trace's prefix against those of clustered traces."""

    sample: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Continue:
    """Resume a trace that is paused at its checkpoint, to its end."""

    sample: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel a trace, in any state."""

    sample: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Cancel every trace in flight: the answer is final."""

    reason: str


Command = Launch | Judge | Continue | Cancel | Stop


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy's conclusion: the answer, the votes for it and the clusters.

    `votes` lists each answer with the samples that gave it, most votes first. `weights` has a
    weight for each answer, where votes are weighted. `p_wrong` is P(another answer wins the vote of
    all traces), where a judge's word enters it.
    """

    answer: str | None
    votes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    clusters: tuple[tuple[int, ...], ...] = field(default=())
    weights: tuple[float, ...] = ()
    p_wrong: float | None = None
