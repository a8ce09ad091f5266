"""How the votes of a problem may split, and what votes so far say about each way.

A split gives the share of traces of each answer. It has two parameters: the share of the most
frequent answer, and the share of the second relative to it. Further answers decline geometrically,
so that the shares add up to 1. `SPLITS` is a grid of them; a prior is a weight for each
(`deepprune.split_prior`).

Which of a split's answers leads is unknown: the vote's leader and runner-up may be any two of its
most frequent answers. `weigh` sums over these cases. In each it takes the margin of the full vote
to be normal, with the mean and variance that the split gives.

Long traces often dissent: the odds of the most frequent answer change with the length of a trace by
`SLOPES`, log-odds from the shortest to the longest trace of a problem, with a probability for each.
Traces that are still running are long, so they are not counted as random ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from deepprune.statistics import Floats

_FIRST = (
    *(0.04, 0.07, 0.11, 0.16, 0.23, 0.32, 0.42, 0.52),
    *(0.62, 0.72, 0.81, 0.89, 0.94, 0.97, 0.988, 0.997),
)
_SECOND = (0.15, 0.4, 0.7, 0.95)
"""Share of the second answer, in parts of the largest that the first leaves room for."""
_ANSWERS = 5
"""Answers of a split that are told apart."""
_CONTENDERS = 3
"""Answers of a split that may be the vote's leader or runner-up."""
SLOPES = np.array([-4.0, -1.0, 1.5])
SLOPE_WEIGHTS = np.array([0.3, 0.5, 0.2])
_TINY = 1e-9


def _shares() -> Floats:
    rows = []
    for first in _FIRST:
        for part in _SECOND:
            ratio = part * min(1.0, (1 - first) / first)
            decline = max(0.0, 1 - first * ratio / (1 - first))
            rows.append([first, *(first * ratio * decline**k for k in range(_ANSWERS - 1))])
    return np.array(rows)


SPLITS: Floats = _shares()
"""(splits, answers): the shares of the most frequent answers, most frequent first."""
_CASES = np.array(list(permutations(range(_CONTENDERS), 2)))
_OTHERS = np.array([[k for k in range(_ANSWERS) if k not in case] for case in _CASES])


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes so far, and what is still to come.

    `leader` and `runner_up` are votes, `answered` all votes. `unseen` traces are not launched and
    `running` are, as far as they are expected to give an answer. `ended_rank` and `running_rank`
    are mean ranks by length, from -0.5, the shortest trace of the problem, to 0.5, the longest.
    """

    leader: int
    runner_up: int
    answered: int
    unseen: float
    running: float = 0.0
    ended_rank: float = 0.0
    running_rank: float = 0.0

    def plus(self, votes: int) -> Tally:
        """The tally after so many further votes for the leader, of running traces first."""
        running = max(0.0, self.running - votes)
        unseen = max(0.0, self.unseen - max(0.0, votes - self.running))
        return Tally(
            self.leader + votes,
            self.runner_up,
            self.answered + votes,
            unseen,
            running,
            self.ended_rank,
            self.running_rank,
        )


def weigh(tally: Tally) -> tuple[Floats, Floats]:
    """Log likelihood of a tally under each split, and P(another answer wins the full vote).

    Both (splits,). The full vote has the `answered` traces and those still to come.
    """
    from scipy.special import ndtr  # the distribution function of a normal variable

    lead, second = float(tally.leader), float(tally.runner_up)
    rest = tally.answered - lead - second
    by_length = bool(tally.ended_rank or tally.running_rank)
    ended = _cases(_tilted(tally.ended_rank)) if by_length else _ALIKE
    # Shapes: (slopes, splits, cases) for leader and runner-up, one more axis for other answers.
    log_likelihood = (
        lead * np.log(ended.leader)
        + second * np.log(ended.runner_up)
        + rest * np.log(ended.rest)
        + (np.log(SLOPE_WEIGHTS)[:, None, None] if by_length else 0.0)
    )
    part = ended.others / ended.rest[..., None]
    mean = rest * part
    below = ndtr((second + 0.5 - mean) / np.sqrt(mean * (1 - part) + _TINY))
    log_likelihood += np.log(below + 1e-12).sum(axis=-1)

    running = _cases(_tilted(tally.running_rank)) if by_length else _ALIKE
    to_come = [(tally.unseen, _ALIKE), (tally.running, running)][: 2 if tally.running else 1]
    stays = _stays_ahead(lead - second, [(n, c.leader, c.runner_up) for n, c in to_come])
    stays = stays * _stays_ahead(
        lead - np.minimum(second, mean),
        [(n, c.leader[..., None], c.others) for n, c in to_come],
    ).prod(axis=-1)

    top = log_likelihood.max(axis=(0, 2), keepdims=True)
    weights = np.exp(log_likelihood - top)
    total = weights.sum(axis=(0, 2))
    return np.log(total) + top[0, :, 0], 1 - (weights * stays).sum(axis=(0, 2)) / total


@dataclass(frozen=True, slots=True)
class _Cases:
    """Shares of the leader, the runner-up, each other answer and all others, by case."""

    leader: Floats
    runner_up: Floats
    others: Floats
    rest: Floats


def _cases(shares: Floats) -> _Cases:
    leader, runner_up = shares[..., _CASES[:, 0]], shares[..., _CASES[:, 1]]
    rest = np.maximum(1 - leader - runner_up, _TINY)
    others = np.minimum(shares[..., _OTHERS], rest[..., None])
    return _Cases(leader, runner_up, others, rest)


_ALIKE = _cases(SPLITS[None])
"""Traces of any length."""


def _tilted(rank: float) -> Floats:
    """Shares among traces of this mean rank by length, (slopes, splits, answers)."""
    odds: Floats = SPLITS[:, 0] / (1 - SPLITS[:, 0]) * np.exp(SLOPES * rank)[:, None]
    first = odds / (1 + odds)
    tilted: Floats = SPLITS[None] * ((1 - first) / (1 - SPLITS[:, 0]))[..., None]
    tilted[..., 0] = first
    return tilted


def _stays_ahead(margin: Floats | float, to_come: Iterable[tuple[float, Floats, Floats]]) -> Floats:
    """P(the leader stays ahead of a rival), half of ties; `to_come`: (traces, shares of each)."""
    from scipy.special import ndtr

    mean: Floats = np.asarray(margin, dtype=np.float64)
    variance: Floats = np.asarray(_TINY)
    for traces, ours, theirs in to_come:
        drift = ours - theirs
        mean = mean + traces * drift
        variance = variance + traces * (ours + theirs - drift**2)
    stays: Floats = ndtr(mean / np.sqrt(variance))
    return stays
