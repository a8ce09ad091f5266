"""Adaptive-Consistency: sample until the leader is safe by a Beta rule (Aggarwal et al. 2023)."""

from __future__ import annotations

from deepprune.belief import fewest_votes, p_ahead
from deepprune.events import Command, Decision, Event, Failed, Finished, Launch, Stop
from deepprune.policy_config import AdaptiveConfig
from deepprune.voting import Vote


class Adaptive:
    """Looks after each wave: enough once P(leader ahead of runner-up) is above the threshold."""

    pauses = False

    def __init__(self, config: AdaptiveConfig) -> None:
        self._config = config
        self._vote = Vote()
        self._unlaunched = range(config.num_traces)
        self._missing = 0

    def start(self) -> list[Command]:
        """Launch the first wave."""
        return self._next_wave()

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends; look when the wave is complete."""
        match event:
            case Finished(sample=sample, answer=answer):
                self._vote.add(sample, answer)
            case Failed():
                pass
            case _:
                return []
        self._missing -= 1
        if self._missing:
            return []
        if p_ahead(*self._vote.top_two) > self._config.threshold:
            return [Stop("leader is safe")]
        return self._next_wave()

    def decision(self) -> Decision:
        """The majority so far."""
        return Decision(self._vote.answer, self._vote.groups)

    def _next_wave(self) -> list[Command]:
        size = self._config.wave
        if size == "needed":
            size = fewest_votes(*self._vote.top_two, self._config.threshold)
        wave, self._unlaunched = self._unlaunched[:size], self._unlaunched[size:]
        if not wave:
            return [Stop("all sampled")]
        self._missing = len(wave)
        return [Launch(sample, to_end=True) for sample in wave]
