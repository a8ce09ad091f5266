"""The promise of `risk`: the share of problems on which another answer may win the full vote.

It holds on average over problems. A problem stops when P(another answer wins) is at most a
threshold; most stop far below it. The rest is not lost: a `Promise` keeps the account of a sweep.
Each problem adds `risk` and takes the P(another answer wins) that it stopped with, and the
threshold follows the balance. The account is only as good as these probabilities, so the promise
also learns how the votes of this sweep split: it adapts its prior to the problems answered so far.

A problem by itself has the prior as given, and the threshold of an empty account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepprune.ledger import Fate, TraceEnd
from deepprune.length_ranks import length_ranks
from deepprune.session import Outcome
from deepprune.split_prior import Weights, learn
from deepprune.splits import BINS, Lengths, Tally, log_likelihoods, p_wrong
from deepprune.statistics import Floats

FIRST_THRESHOLD = 2.0
"""Of an empty account, in parts of the risk: most problems stop far below their threshold."""
MAX_THRESHOLD = 0.5
PACE = 0.4
"""Change of the log threshold for each risk of a problem that was not taken."""
PRIOR_PROBLEMS = 5.0
"""The given prior counts as so many problems."""
FEWEST_ANSWERS = 2
_STEPS = 12


@dataclass(frozen=True, slots=True)
class Terms:
    """What a problem is held to: its threshold, and the prior, (ways,), it begins with."""

    threshold: float
    weights: Floats

    def p_wrong(self, votes: Tally, judged: Floats | None = None) -> float:
        """P(another answer than the leader wins the full vote); see `deepprune.splits.p_wrong`."""
        is_over = votes.unseen + votes.running <= 0 and (judged is None or not len(judged))
        if is_over:
            return 0.0
        return p_wrong(votes, self.weights, judged)


class Promise:
    """The account of a sweep, or of one problem: `terms` for the next, `count` after each."""

    def __init__(self, risk: float, prior: Weights) -> None:
        self._risk = risk
        self._prior = np.array(prior)
        self._weights = self._prior
        self._rows: list[Floats] = []
        self._balance = 0.0

    @property
    def terms(self) -> Terms:
        """The terms for the next problem."""
        start = FIRST_THRESHOLD * self._risk
        threshold = start * math.exp(PACE * self._balance / self._risk)
        return Terms(min(MAX_THRESHOLD, threshold), self._weights)

    def take(self, p_wrong: float) -> None:
        """Enter a problem that has been answered, with P(another answer wins) at its stop.

        Of one with a judge, nothing else is entered: which traces it finishes is no accident, so
        that their votes are no sample to learn from.
        """
        self._balance += self._risk - p_wrong

    def count(self, votes: Tally) -> None:
        """Enter a problem that has been answered, with the votes it stopped at, and learn."""
        self.take(self.terms.p_wrong(votes))
        self._rows.append(log_likelihoods(votes))
        self._weights = learn(np.array(self._rows), self._prior, PRIOR_PROBLEMS, _STEPS)


def tally_of(outcome: Outcome, num_traces: int) -> Tally:
    """The votes of a problem at its stop."""
    groups = [samples for _, samples in outcome.decision.votes]
    return tally_at_stop(groups, outcome.ends, num_traces)


def tally_at_stop(
    groups: Sequence[Sequence[int]], ends: Sequence[TraceEnd], num_traces: int
) -> Tally:
    """A tally of `groups`, the samples that gave each answer; traces cancelled were running."""
    lengths = {end.sample: end.num_tokens for end in ends if end.fate is Fate.FINISHED}
    cancelled = (Fate.CANCELLED_BEFORE_CHECKPOINT, Fate.CANCELLED_AFTER_CHECKPOINT)
    running = [end.num_tokens for end in ends if end.fate in cancelled]
    return tally(groups, lengths, running, num_traces - len(ends))


def tally(
    groups: Sequence[Sequence[int]], lengths: Mapping[int, int], running: Sequence[int], unseen: int
) -> Tally:
    """A tally of `groups`, the samples that gave each answer.

    `lengths` are tokens of all traces that have ended, by sample, `running` those of the others so
    far. Traces to come give an answer as often as those that have ended.
    """
    groups = sorted(groups, key=len, reverse=True)
    answered = sum(map(len, groups))
    rate = (answered + 1) / (len(lengths) + 1)
    ended, behind = length_ranks(list(lengths.values()), running)
    bins = np.minimum(((np.append(ended, behind) + 0.5) * BINS).astype(int), BINS - 1).tolist()
    bin_of = dict(zip(lengths, bins[:-1], strict=True))
    votes = np.zeros((3, BINS))
    for place, group in enumerate(groups):
        for sample in group:
            votes[min(place, 2), bin_of[sample]] += 1
    leader, runner_up = (*map(len, groups), 0, 0)[:2]
    by_length = Lengths(votes, bins[-1])
    return Tally(leader, runner_up, answered, unseen * rate, len(running) * rate, by_length)
