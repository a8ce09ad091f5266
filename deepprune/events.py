"""The language between policies and drivers.

A driver tells a policy events; the policy answers with commands. Neither carries text: a policy
decides on sample indices, answers and P(same), and never needs to read a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """A running trace has generated `num_tokens` in all.

    `confidence` holds its group confidences read since it was last heard of, where the generator
    records them.
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
    """P(same) of `sample` with each member it was compared with, and what that cost."""

    sample: int
    p_same: Mapping[int, float]
    computed_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgeLost:
    """The judge could not answer for `sample`, retries included."""

    sample: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A trace has ended by itself; `answer` is None where it gave none."""

    sample: int
    answer: str | None
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A trace is lost for good: its generator died under it, retries included."""

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
    """Compare a trace's prefix with those of clustered traces: P(same) for each is wanted."""

    sample: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Continue:
    """Let a trace that is paused at its checkpoint go on to its end."""

    sample: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a trace now, whatever it is doing."""

    sample: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The answer is final: cancel whatever is still in flight."""

    reason: str


Command = Launch | Judge | Continue | Cancel | Stop


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy concludes: the answer, the votes behind it and the clusters it saw.

    `votes` lists each answer with the samples that gave it, most votes first. `weights`, one for
    each of them, are given where a vote does not count as one.
    """

    answer: str | None
    votes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    clusters: tuple[tuple[int, ...], ...] = field(default=())
    weights: tuple[float, ...] = ()
