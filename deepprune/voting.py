"""Majority vote over final answers, grouped by value (Section 4.2.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from deepprune.answers import read_value


def same_answer(a: str, b: str) -> bool:
    """Whether two answers count as one in a vote.

    They do if their values are equal, and their units and variable names where both give one.
    """
    if a == b:
        return True
    first, second = read_value(a), read_value(b)
    names = {first.names, second.names}
    return first.key == second.key and (len(names) == 1 or "" in names)


class Vote:
    """Counts answers and groups them by value.

    Answers of equal value are one group; `5 hours` and `5 minutes` are two. An answer without a
    unit, `5`, joins the unit with the most votes. The groups do not depend on the order of the
    answers; another vote makes one group larger by one, and no group smaller. A tie goes to the
    group with the lowest sample index, so speed does not matter.
    """

    def __init__(self, ballots: Iterable[tuple[int, str | None]] = ()) -> None:
        self._values: dict[str, dict[str, list[tuple[int, str]]]] = defaultdict(dict)
        for sample, answer in ballots:
            self.add(sample, answer)

    def add(self, sample: int, answer: str | None) -> None:
        """Count the answer of `sample`; None or a blank text is no vote."""
        if answer is None or not answer.strip():
            return
        value = read_value(answer)
        self._values[value.key].setdefault(value.names, []).append((sample, answer))

    @property
    def groups(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Each answer, as its first sample spells it, with its samples; most votes first."""
        groups = []
        for by_names in self._values.values():
            for ballots in _joined(by_names):
                samples = tuple(sorted(sample for sample, _ in ballots))
                groups.append((min(ballots)[1], samples))
        return tuple(sorted(groups, key=lambda group: (-len(group[1]), group[1][0])))

    @property
    def answer(self) -> str | None:
        """The leading answer; None before the first vote."""
        groups = self.groups
        return groups[0][0] if groups else None

    @property
    def top_two(self) -> tuple[int, int]:
        """Votes of the leader and of the runner-up."""
        joined = (group for by_names in self._values.values() for group in _joined(by_names))
        counts = sorted(map(len, joined), reverse=True)
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


def group_answers(answers: Sequence[str | None]) -> list[int | None]:
    """The group of each answer in the vote of all of them, as a number; None for no answer."""
    vote = Vote(enumerate(answers))
    group_of = {
        sample: number for number, (_, samples) in enumerate(vote.groups) for sample in samples
    }
    return [group_of.get(sample) for sample in range(len(answers))]


def _joined(by_names: dict[str, list[tuple[int, str]]]) -> list[list[tuple[int, str]]]:
    """The groups among ballots for one value, by the unit or name that each gives, if any."""
    unnamed = by_names.get("", [])
    named = [ballots for names, ballots in by_names.items() if names]
    if not (unnamed and named):
        return list(by_names.values())
    most = max(named, key=lambda ballots: (len(ballots), -min(ballots)[0]))
    return [unnamed + most, *(ballots for ballots in named if ballots is not most)]
