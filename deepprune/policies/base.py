"""What every policy is: told events, answers with commands, does no I/O and knows no clock."""

from __future__ import annotations

from typing import Protocol

from deepprune.events import Command, Decision, Event


class Policy(Protocol):
    """Decides for one problem.

    The driver calls `start` once, then `handle` for each event of a trace that is in flight, until
    a command is `Stop`. Events of traces that ended are never passed on.
    """

    @property
    def pauses(self) -> bool:
        """Whether a trace waits at its checkpoint for `Continue`."""
        ...

    def start(self) -> list[Command]:
        """The first commands."""
        ...

    def handle(self, event: Event) -> list[Command]:
        """What follows from an event."""
        ...

    def decision(self) -> Decision:
        """The conclusion so far; final once `Stop` was commanded."""
        ...
