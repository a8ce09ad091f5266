"""Whole traces, some of them running: what has been launched, how long each is, how far it is."""

from __future__ import annotations

import math

from deepprune.events import Command, Launch


class Sampling:
    """Launches traces to their end, in order of samples, and follows their lengths.

    Lengths are told when a trace ends. All running traces decode at about the same speed, so its
    end also tells how far those are that were launched with it.
    """

    def __init__(self, num_traces: int) -> None:
        self.unlaunched = range(num_traces)
        self._clock = 0
        self._since: dict[int, int] = {}
        self.lengths: dict[int, int] = {}
        """Tokens of each trace that has ended."""

    @property
    def num_running(self) -> int:
        """Traces that are running."""
        return len(self._since)

    def fill(self, size: int) -> list[Command]:
        """Launch traces until so many are running, as far as there are any."""
        size = max(0, size - len(self._since))
        wave, self.unlaunched = self.unlaunched[:size], self.unlaunched[size:]
        self._since.update(dict.fromkeys(wave, self._clock))
        return [Launch(sample, to_end=True) for sample in wave]

    def finished(self, sample: int, num_tokens: int) -> None:
        """A trace has ended, with so many tokens."""
        self._clock = max(self._clock, self._since.pop(sample) + num_tokens)
        self.lengths[sample] = num_tokens

    def failed(self, sample: int) -> None:
        """A trace is lost."""
        del self._since[sample]

    @property
    def running(self) -> list[int]:
        """Tokens of the running traces so far."""
        return [self._clock - since for since in self._since.values()]


def size_ahead(ahead: float, needed: int) -> int:
    """Traces to run where so many could settle the vote."""
    return math.ceil(ahead * needed)
