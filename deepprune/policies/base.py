"""The policy protocol: takes events, returns commands; no I/O, no clock."""

from __future__ import annotations

from typing import Protocol

from deepprune.events import Command, Decision, Event


class Policy(Protocol):
    """Decides for one problem.

    The driver calls `start` once, then `handle` for each event of a trace in flight, until a
    command is `Stop`. A policy gets no events of ended traces.
    """

    @property
    def pauses(self) -> bool:
        """Whether a trace waits at its checkpoint for `Continue`."""
        ...

    def start(self) -> list[Command]:
        """Return the first commands."""
        ...

    def handle(self, event: Event) -> list[Command]:
        """Handle an event and return commands."""
        ...

    def decision(self) -> Decision:
        """Return the conclusion so far; it is final after `Stop`."""
        ...
