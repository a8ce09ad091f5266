"""Live sweeps that learn from problems already answered, whatever the order they end in.

A cell takes its problems in an order of its own, drawn by its seed. Each begins on the terms left
by those at least `lag` places before it, counted in that order, so that `lag` of them run at a
time. Which of them ends first makes no difference, nor does a sweep that was stopped and goes on:
it counts the outcomes on disk in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from deepprune.ledger import Fate, TraceEnd
from deepprune.policy_config import PlusConfig, PolicyConfig
from deepprune.promise import Promise, Terms, tally_at_stop
from deepprune.splits import Tally

if TYPE_CHECKING:
    from jobs.sample.run import Task


class Turns:
    """The problems of a cell in turn: `ready` has those that may begin.

    `tasks` are by part, the name of their outcome; `answered` has the votes of those on disk.
    Without a `promise` nothing is learned from votes, and all problems may begin.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        answered: Mapping[str, Tally | None],
        promise: Promise | None,
        lag: int,
    ) -> None:
        self.left = [part for part in tasks if part not in answered]
        self._tasks = tasks
        self._order = list(tasks)
        self._votes = dict(answered)
        self._promise = promise
        self._lag = lag
        self._num_counted = 0
        self._num_begun = 0

    def ready(self) -> Sequence[Task]:
        """The problems that may begin by now and have not, each with its terms."""
        found: list[Task] = []
        left = frozenset(self.left)
        for part in self._order[self._num_begun :]:
            terms = self._terms()
            if self._promise is not None and terms is None:
                break
            self._num_begun += 1
            if part in left:
                found.append(replace(self._tasks[part], terms=terms))
        return found

    def ready_after(self, part: str, votes: Tally) -> Sequence[Task]:
        """The same, once a problem has been answered."""
        self._votes[part] = votes
        return self.ready()

    def _terms(self) -> Terms | None:
        """The terms of the next problem; None while one that it learns from is not answered."""
        if self._promise is None:
            return None
        for part in self._order[self._num_counted : max(0, self._num_begun - self._lag + 1)]:
            votes = self._votes.get(part)
            if votes is None:
                return None
            self._promise.count(votes)
            self._num_counted += 1
        return self._promise.terms


def learns(policy: PolicyConfig) -> TypeGuard[PlusConfig]:
    """Whether a policy learns from problems already answered: only a vote without a judge can."""
    return isinstance(policy, PlusConfig) and policy.learns and policy.votes_only


def votes_in(row: Mapping[str, Any]) -> Tally:
    """The votes of a row of the outcomes table at its stop."""
    ends = [
        TraceEnd(end["sample"], Fate(end["fate"]), end["reason"], end["num_tokens"])
        for end in row["ends"]
    ]
    return tally_at_stop([vote["samples"] for vote in row["votes"]], ends, row["num_traces"])
