"""Early-Stopping Self-Consistency: windows of traces, until one agrees (Li et al. 2024)."""

from __future__ import annotations

from deepprune.events import Command, Decision, Event, Failed, Finished, Stop
from deepprune.policies.sampling import Sampling, size_ahead
from deepprune.policy_config import EscConfig
from deepprune.voting import Vote


class Esc:
    """Samples a window at a time and stops after one whose traces all give the same answer.

    A trace without an answer agrees with none. All traces of the windows so far vote. Running
    `ahead`, it has started on later windows, but looks at them in turn: the answer is the same.
    """

    pauses = False

    def __init__(self, config: EscConfig) -> None:
        self._config = config
        self._ballots: list[tuple[int, str | None]] = []
        self._sampling = Sampling(config.num_traces)
        self._windows = [
            range(config.num_traces)[first : first + config.window]
            for first in range(0, config.num_traces, config.window)
        ]
        self._answers: dict[int, str | None] = {}  # of the windows not yet looked at

    def start(self) -> list[Command]:
        """Launch the first window."""
        return self._launch()

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends; look at the next window when it is complete."""
        match event:
            case Finished(sample=sample, answer=answer, num_tokens=num_tokens):
                self._sampling.finished(sample, num_tokens)
                self._answers[sample] = answer
            case Failed(sample=sample):
                self._sampling.failed(sample)
                self._answers[sample] = None
            case _:
                return []
        while self._windows and all(sample in self._answers for sample in self._windows[0]):
            if self._agrees(self._windows.pop(0)):
                self._answers.clear()  # of later windows: they have no vote
                return [Stop("window agrees")]
        if not self._windows:
            return [Stop("all sampled")]
        if self._sampling.num_running and self._config.traces_ahead is None:
            return []
        return self._launch()

    def decision(self) -> Decision:
        """The majority of the windows so far, and of what has ended of the next."""
        vote = Vote([*self._ballots, *self._answers.items()])
        return Decision(vote.answer, vote.groups)

    def _agrees(self, window: range) -> bool:
        """Count the votes of a window; whether all its traces gave the same answer."""
        ballots = [(sample, self._answers.pop(sample)) for sample in window]
        self._ballots += ballots
        groups = Vote(ballots).groups
        return len(groups) == 1 and len(groups[0][1]) == len(window)

    def _launch(self) -> list[Command]:
        ahead = self._config.traces_ahead
        return self._sampling.fill(size_ahead(ahead or 1, self._config.window))
