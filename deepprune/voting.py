"""Majority vote over final answers, grouped by mathematical equivalence (Section 4.2.2)."""

from __future__ import annotations

from collections.abc import Callable

from deepprune.answers import equivalent

Same = Callable[[str, str], bool]
"""Whether two answers are the same."""


class Vote:
    """Counts answers as they come in.

    An answer joins the first group whose first answer it is equivalent to, so groups never merge
    and a count never falls. A tie goes to the group with the earliest sample: which traces vote
    decides, not which of them was quicker.
    """

    def __init__(self, same: Same = equivalent) -> None:
        self._same = same
        self._groups: list[tuple[str, list[int]]] = []

    def add(self, sample: int, answer: str | None) -> None:
        """Count the answer of `sample`; None, no answer, is no vote."""
        if answer is None:
            return
        for representative, samples in self._groups:
            if self._same(representative, answer):
                samples.append(sample)
                return
        self._groups.append((answer, [sample]))

    @property
    def groups(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Each answer with the samples that gave it, most votes first."""
        groups = ((answer, tuple(sorted(samples))) for answer, samples in self._groups)
        return tuple(sorted(groups, key=lambda group: (-len(group[1]), group[1][0])))

    @property
    def answer(self) -> str | None:
        """The answer that leads; None before the first vote."""
        groups = self.groups
        return groups[0][0] if groups else None

    @property
    def top_two(self) -> tuple[int, int]:
        """Votes of the leader and of the runner-up."""
        counts = sorted((len(samples) for _, samples in self._groups), reverse=True)
        lead, runner_up = (*counts, 0, 0)[:2]
        return lead, runner_up

    def needed(self, remaining: int) -> int:
        """The fewest of `remaining` voters that could settle the vote, should they all agree.

        0 means decided: whatever the remaining voters say, the leader wins. With lead L, runner-up
        R and r remaining, x more votes for the leader decide when L + x > R + (r - x).
        """
        lead, runner_up = self.top_two
        margin = runner_up + remaining - lead
        return 0 if margin < 0 else min(remaining, margin // 2 + 1)
