"""Martingale Majority Certificate: sample until the leader is certified (arXiv 2510.17472).

Two tests run side by side, one against the runner-up and one against all other answers. Each bets
that a vote for one of the two sides is for the leader, more often than every other time; its wealth
is a mixture over how often. If the leader is not the most frequent answer, the wealth ever reaches
1 / delta with a probability of at most delta. Sampling stops once both have.

Leader and runner-up of a vote are those before it, so that the bets do not look ahead.
"""

from __future__ import annotations

import math

from deepprune.events import Command, Decision, Event, Failed, Finished, Stop
from deepprune.policies.sampling import Sampling
from deepprune.stopping_config import CertificateConfig
from deepprune.voting import Vote, same_answer


class Certificate:
    """Samples one trace at a time until both tests certify the leader."""

    pauses = False

    def __init__(self, config: CertificateConfig) -> None:
        self._bar = -math.log(config.delta)
        self._sampling = Sampling(config.num_traces)
        self._vote = Vote()
        self._tests = [[0, 0], [0, 0]]  # votes for and against: the runner-up, the others

    def start(self) -> list[Command]:
        """Launch the first trace."""
        return self._sampling.fill(1)

    def handle(self, event: Event) -> list[Command]:
        """Test with each answer; sample on, or stop."""
        match event:
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._sampling.finished(sample, num_tokens)
                if answer is not None:
                    self._bet(answer)
                    self._vote.add(sample, answer)
            case Failed(sample=sample):
                self._sampling.failed(sample)
            case _:
                return []
        if all(log_wealth(*test) >= self._bar for test in self._tests):
            return [Stop("certified")]
        return self._sampling.fill(1) or [Stop("all sampled")]

    def decision(self) -> Decision:
        """The majority so far."""
        return Decision(self._vote.answer, self._vote.groups)

    def _bet(self, answer: str) -> None:
        """Enter an answer in the tests; until there is a runner-up, any other answer may be it."""
        groups = self._vote.groups
        if not groups:
            return
        runner_up, others = self._tests
        has_runner_up = len(groups) > 1
        if same_answer(answer, groups[0][0]):
            runner_up[0] += 1
            others[0] += 1
        elif has_runner_up and same_answer(answer, groups[1][0]):
            runner_up[1] += 1
        else:
            others[1] += 1
            runner_up[1] += not has_runner_up


def log_wealth(votes: int, against: int) -> float:
    """Log of what betting on one side has made of 1, mixed over how often it gets the vote.

    The mixture is a Beta(1/2, 1/2) distribution, cut off below one half.
    """
    from scipy.special import betainc, betaln

    a, b = votes + 0.5, against + 0.5
    above_half = betainc(b, a, 0.5)  # P(Beta(a, b) > 1/2)
    if above_half == 0:
        return -math.inf
    constant = math.log(2) - betaln(0.5, 0.5)
    return float((votes + against) * math.log(2) + betaln(a, b) + math.log(above_half) + constant)
