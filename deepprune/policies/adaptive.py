"""Adaptive-Consistency: sample until the leader is safe by a Beta rule (Aggarwal et al. 2023)."""

from __future__ import annotations

from deepprune.belief import fewest_votes, p_ahead
from deepprune.events import Command, Decision, Event, Failed, Finished, Stop
from deepprune.policies.sampling import Sampling, size_ahead
from deepprune.policy_config import AdaptiveConfig
from deepprune.voting import Vote


class Adaptive:
    """Stops once P(leader ahead of runner-up) is above the threshold.

    It looks after each wave, or, running `ahead`, after each trace.
    """

    pauses = False

    def __init__(self, config: AdaptiveConfig) -> None:
        self._config = config
        self._vote = Vote()
        self._sampling = Sampling(config.num_traces)

    def start(self) -> list[Command]:
        """Launch the first traces."""
        return self._launch()

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends; look, then stop or launch more."""
        match event:
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._sampling.finished(sample, num_tokens)
                self._vote.add(sample, answer)
            case Failed(sample=sample):
                self._sampling.failed(sample)
            case _:
                return []
        if self._sampling.num_running and self._config.traces_ahead is None:
            return []
        if p_ahead(*self._vote.top_two) > self._config.threshold:
            return [Stop("leader is safe")]
        commands = self._launch()
        return commands if commands or self._sampling.num_running else [Stop("all sampled")]

    def decision(self) -> Decision:
        """The majority so far."""
        return Decision(self._vote.answer, self._vote.groups)

    def _launch(self) -> list[Command]:
        size, ahead = self._config.wave, self._config.traces_ahead
        if size == "needed" or ahead is not None:
            size = fewest_votes(*self._vote.top_two, self._config.threshold)
        return self._sampling.fill(size_ahead(ahead or 1, size))
