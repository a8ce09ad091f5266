"""Finish chosen traces and count their votes, with no more traces than the vote needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepprune.voting import Vote


class Finishing:
    """Lets the `chosen` traces finish in order and counts their votes.

    With `stop_when_decided`, only as many run at a time as could settle the vote if they all
    agreed, and `done` becomes true when the vote cannot change. The answer is that of the full
    vote. `answers` has the answers of traces that have already ended.
    """

    def __init__(
        self,
        chosen: Sequence[int],
        answers: Mapping[int, str | None],
        *,
        stop_when_decided: bool,
    ) -> None:
        self.vote = Vote()
        self._stop_when_decided = stop_when_decided
        self._waiting = [sample for sample in chosen if sample not in answers]
        self._running: set[int] = set()
        for sample in chosen:
            if sample in answers:
                self.vote.add(sample, answers[sample])

    @property
    def done(self) -> bool:
        """Whether the answer is final."""
        remaining = len(self._waiting) + len(self._running)
        return remaining == 0 or (self._stop_when_decided and self.vote.needed(remaining) == 0)

    def next(self) -> list[int]:
        """The further traces to start finishing now."""
        wanted = len(self._waiting)
        if self._stop_when_decided:
            remaining = len(self._waiting) + len(self._running)
            wanted = max(0, self.vote.needed(remaining) - len(self._running))
        started, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
        self._running.update(started)
        return started

    def runs(self, sample: int) -> bool:
        """Whether a trace is finishing."""
        return sample in self._running

    def ended(self, sample: int, answer: str | None) -> None:
        """Count an ended trace: its answer, or None if it has none or was lost."""
        if sample in self._running:
            self._running.remove(sample)
        elif sample in self._waiting:
            self._waiting.remove(sample)
        else:
            raise AssertionError(f"trace {sample} is not among those chosen to finish")
        self.vote.add(sample, answer)
