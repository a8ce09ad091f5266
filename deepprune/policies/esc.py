"""Early-Stopping Self-Consistency: windows of traces, until one agrees (Li et al. 2024)."""

from __future__ import annotations

from deepprune.events import Command, Decision, Event, Failed, Finished, Launch, Stop
from deepprune.policy_config import EscConfig
from deepprune.voting import Vote


class Esc:
    """Samples a window at a time and stops after one whose traces all give the same answer.

    A trace without an answer agrees with none. All traces sampled so far vote.
    """

    pauses = False

    def __init__(self, config: EscConfig) -> None:
        self._config = config
        self._vote = Vote()
        self._unlaunched = range(config.num_traces)
        self._window: dict[int, str | None] = {}
        self._missing = 0

    def start(self) -> list[Command]:
        """Launch the first window."""
        return self._next_window()

    def handle(self, event: Event) -> list[Command]:
        """Count each trace that ends; look at the window when it is complete."""
        match event:
            case Finished(sample=sample, answer=answer):
                self._window[sample] = answer
            case Failed(sample=sample):
                self._window[sample] = None
            case _:
                return []
        self._vote.add(event.sample, self._window[event.sample])
        self._missing -= 1
        if self._missing:
            return []
        if self._window_agrees:
            return [Stop("window agrees")]
        return self._next_window()

    def decision(self) -> Decision:
        """The majority so far."""
        return Decision(self._vote.answer, self._vote.groups)

    @property
    def _window_agrees(self) -> bool:
        groups = Vote(self._window.items()).groups
        return len(groups) == 1 and len(groups[0][1]) == len(self._window)

    def _next_window(self) -> list[Command]:
        size = self._config.window
        window, self._unlaunched = self._unlaunched[:size], self._unlaunched[size:]
        if not window:
            return [Stop("all sampled")]
        self._window.clear()
        self._missing = len(window)
        return [Launch(sample, to_end=True) for sample in window]
