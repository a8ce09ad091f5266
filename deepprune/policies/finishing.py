"""The last stretch of every policy: chosen traces finish and vote, no more than it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepprune.voting import Vote


class Finishing:
    """Lets the `chosen` traces finish in order and counts their votes.

    With `stop_when_decided`, only as many run at a time as could settle the vote if they all
    agreed, and `done` is reached when it cannot change any more. The answer is that of the full
    vote: whoever has not voted by then could not have turned it.
    `answers` holds what is known of traces that have ended already.
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
        """The traces that should start to finish now, beside those that already do."""
        wanted = len(self._waiting)
        if self._stop_when_decided:
            remaining = len(self._waiting) + len(self._running)
            wanted = max(0, self.vote.needed(remaining) - len(self._running))
        started, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
        self._running.update(started)
        return started

    def runs(self, sample: int) -> bool:
        """Whether a trace has been told to finish, and has not ended."""
        return sample in self._running

    def ended(self, sample: int, answer: str | None) -> None:
        """Count a trace that has ended: its answer, or None where it gave none or was lost."""
        if sample in self._running:
            self._running.remove(sample)
        elif sample in self._waiting:
            self._waiting.remove(sample)
        else:
            raise AssertionError(f"trace {sample} is not among those chosen to finish")
        self.vote.add(sample, answer)
