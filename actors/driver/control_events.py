"""Events of a live problem that its policy does not hear of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Somebody asked the problem to stop with its vote so far."""

    reason: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """A task of the problem raised an error."""

    error: BaseException
