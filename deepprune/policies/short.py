"""short-m@k: run k traces side by side, let the first m that end vote (Hassid et al. 2025)."""

from __future__ import annotations

from deepprune.events import Command, Decision, Event, Failed, Finished, Stop
from deepprune.policies.sampling import Sampling
from deepprune.stopping_config import ShortConfig
from deepprune.voting import Vote


class Short:
    """The majority of the first m; a tie goes to the answer that came first."""

    pauses = False

    def __init__(self, config: ShortConfig) -> None:
        self._config = config
        self._sampling = Sampling(config.num_traces)
        self._vote = Vote()
        self._places: list[int] = []  # samples that have ended, in order

    def start(self) -> list[Command]:
        """Launch all traces."""
        return self._sampling.fill(self._config.num_traces)

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends; stop after the first m."""
        match event:
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._sampling.finished(sample, num_tokens)
                self._vote.add(len(self._places), answer)  # the place decides a tie
                self._places.append(sample)
            case Failed(sample=sample):
                self._sampling.failed(sample)
            case _:
                return []
        if len(self._places) >= self._config.m:
            return [Stop("first ended")]
        return [] if self._sampling.num_running else [Stop("all sampled")]

    def decision(self) -> Decision:
        """The majority of those that have ended."""
        votes = tuple(
            (answer, tuple(self._places[place] for place in places))
            for answer, places in self._vote.groups
        )
        return Decision(self._vote.answer, votes)
