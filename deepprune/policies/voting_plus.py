"""`deepprune+` without a judge: whole traces, until the answer of the full vote is safe enough.

`deepprune/promise.py` has P(another answer wins the vote of all n traces), and the threshold at
which a problem stops. Nothing waits for a wave: whenever a trace ends, as many are running as could
lower P to the threshold if they all gave the leader's answer, times `ahead`. With `ahead` 1, no
trace is launched that one at a time would have saved. More answer sooner, and those still running
at the stop are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable

from deepprune.events import Command, Decision, Event, Failed, Finished, Stop
from deepprune.policies.sampling import Sampling, size_ahead
from deepprune.policy_config import PlusConfig
from deepprune.promise import FEWEST_ANSWERS, Terms, tally
from deepprune.splits import Tally
from deepprune.voting import Vote


class VotingPlus:
    """Samples whole traces until P(another answer wins the full vote) is low enough."""

    pauses = False

    def __init__(self, config: PlusConfig, terms: Terms) -> None:
        self._config = config
        self._terms = terms
        self._vote = Vote()
        self._sampling = Sampling(config.num_traces)
        self._needed = FEWEST_ANSWERS

    def start(self) -> list[Command]:
        """Launch the first traces."""
        return self._advance()

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends; stop, or keep enough running."""
        match event:
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._sampling.finished(sample, num_tokens)
                self._vote.add(sample, answer)
            case Failed(sample=sample):
                self._sampling.failed(sample)
            case _:
                return []
        return self._advance()

    def decision(self) -> Decision:
        """The majority so far."""
        return Decision(self._vote.answer, self._vote.groups)

    def _tally(self) -> Tally:
        """Votes so far, and what is still to come."""
        sampling = self._sampling
        groups = [samples for _, samples in self._vote.groups]
        return tally(groups, sampling.lengths, sampling.running, len(sampling.unlaunched))

    def _advance(self) -> list[Command]:
        sampling, now = self._sampling, self._tally()
        if not (sampling.num_running or sampling.unlaunched):
            return [Stop("all sampled")]
        if self._safe(now):
            return [Stop("leader is safe")]
        most = sampling.num_running + len(sampling.unlaunched)
        self._needed = fewest(
            lambda more: self._safe(now.plus(more)), most, first_guess=self._needed - 1
        )
        wanted = min(self._needed, self._config.max_wave)
        return sampling.fill(size_ahead(self._config.traces_ahead or 1, wanted))

    def _safe(self, votes: Tally) -> bool:
        if votes.answered < FEWEST_ANSWERS:
            return False
        return self._terms.p_wrong(votes) <= self._terms.threshold


def fewest(enough: Callable[[int], bool], most: int, first_guess: int = 1) -> int:
    """The smallest number from 1 to `most` that is `enough`, which larger ones are too, or `most`.

    Few numbers are tried where it is close to the guess.
    """
    low, high = 0, most  # low is not enough, high is, or is all there is
    guess, step = min(max(1, first_guess), most), 1
    while low + 1 < high:
        if enough(guess):
            high = guess
            guess = max(low + 1, guess - step)
        else:
            low = guess
            guess = min(high - 1, guess + step)
        step *= 2
        if not low < guess < high:
            guess = (low + high) // 2
    return high
