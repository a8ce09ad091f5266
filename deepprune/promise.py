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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepprune.ledger import Fate
from deepprune.length_ranks import mean_ranks
from deepprune.session import Outcome
from deepprune.split_prior import Weights, learn
from deepprune.splits import Tally, weigh
from deepprune.statistics import Floats

FIRST_THRESHOLD = 2.0
"""Of an empty account, in parts of the risk: most problems stop far below their threshold."""
MAX_THRESHOLD = 0.5
PACE = 0.2
"""Change of the log threshold for each risk of a problem that was not taken."""
PRIOR_PROBLEMS = 5.0
"""The given prior counts as so many problems."""
FEWEST_ANSWERS = 2
_STEPS = 12


@dataclass(frozen=True, slots=True)
class Terms:
    """What a problem is held to: its threshold, and the prior, (splits,), it begins with."""

    threshold: float
    weights: Floats

    def p_wrong(self, votes: Tally, judged: Floats | None = None) -> float:
        """P(another answer than the leader wins the full vote); see `deepprune.splits.weigh`."""
        is_over = votes.unseen + votes.running <= 0 and (judged is None or not len(judged))
        if is_over:
            return 0.0
        log_likelihood, wrong = weigh(votes, judged)
        weights = self.weights * np.exp(log_likelihood - log_likelihood.max())
        return float((weights * wrong).sum() / weights.sum())


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

    def count(self, outcome: Outcome, num_traces: int) -> None:
        """Enter a problem that has been answered, of at most `num_traces` traces."""
        votes = tally_of(outcome, num_traces)
        self._balance += self._risk - self.terms.p_wrong(votes)
        self._rows.append(weigh(votes)[0])
        self._weights = learn(np.array(self._rows), self._prior, PRIOR_PROBLEMS, _STEPS)


def tally_of(outcome: Outcome, num_traces: int) -> Tally:
    """The votes of a problem at its stop; traces cancelled there were running."""
    votes = sorted((len(samples) for _, samples in outcome.decision.votes), reverse=True)
    leader, runner_up = (*votes, 0, 0)[:2]
    ended = [end.num_tokens for end in outcome.ends if end.fate is Fate.FINISHED]
    cancelled = (Fate.CANCELLED_BEFORE_CHECKPOINT, Fate.CANCELLED_AFTER_CHECKPOINT)
    running = [end.num_tokens for end in outcome.ends if end.fate in cancelled]
    unseen = num_traces - len(outcome.ends)
    return tally(leader, runner_up, sum(votes), unseen, ended, running)


def tally(
    leader: int,
    runner_up: int,
    answered: int,
    unseen: int,
    ended: Sequence[int],
    running: Sequence[int],
) -> Tally:
    """A tally of votes, unseen traces, and lengths in tokens of those ended and running.

    Traces to come give an answer as often as those that have ended.
    """
    rate = (answered + 1) / (len(ended) + 1)
    ranks = mean_ranks(ended, running)
    return Tally(leader, runner_up, answered, unseen * rate, len(running) * rate, *ranks)
