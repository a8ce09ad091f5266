"""What to credit: a judge against a blind one and none, a policy against a vote of fewer traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepprune import statistics
from deepprune.statistics import Estimate
from jobs.render.format import amount, change, interval, percent, points
from jobs.render.table import Cell, Table, estimated
from jobs.report.scenario import Scenario, Summary
from jobs.report.variants import ABOUT_THE_JUDGE, BLIND, Variant

NOT_TOLD_APART = "not told apart"


@dataclass(frozen=True, slots=True)
class Credit:
    """A variant with a judge beside the same with a blind judge, or with none."""

    judged: Summary
    control: Summary
    tokens: Estimate
    """Tokens generated, as a share of the control's."""
    accuracy: Estimate | None
    """Accuracy less the control's."""

    @property
    def verdict(self) -> str:
        """Whether the tokens, or the accuracy, tell the judge from its control."""
        parts = []
        if self.tokens.high < 1 or self.tokens.low > 1:
            parts.append("fewer tokens" if self.tokens.high < 1 else "more tokens")
        if self.accuracy and (self.accuracy.low > 0 or self.accuracy.high < 0):
            parts.append("right more often" if self.accuracy.low > 0 else "right less often")
        return ", ".join(parts) or NOT_TOLD_APART


def credits_of(scenario: Scenario) -> Iterator[Credit]:
    """Each variant with a judge beside its controls, as far as they are there."""
    for judged in scenario.summaries:
        if judged.variant.judge in (None, BLIND):
            continue
        for control in scenario.summaries:
            if control.variant.judge in (None, BLIND) and _alike(judged.variant, control.variant):
                credit = _credit(judged, control)
                if credit is not None:
                    yield credit


def credit_table(scenario: Scenario) -> Table | None:
    """What each judge adds to its policy."""
    rows = tuple(
        (
            Cell(credit.judged.label, kind=credit.judged.variant.kind),
            Cell(credit.control.label),
            estimated(credit.tokens, change),
            estimated(credit.accuracy, points),
            Cell(credit.verdict),
        )
        for credit in credits_of(scenario)
    )
    if not rows:
        return None
    note = (
        "The same policy with its judge, and with a blind judge (the same score for every pair) or "
        "without one, on the same problems and seeds; 95% bootstrap intervals over problems. The "
        "judge's own tokens are not counted."
    )
    headings = ("variant", "control", "tokens", "accuracy, points", "the data say")
    title = f"What judges add: {scenario.name}"
    return Table(title, headings, rows, (note,), (), 2, ("the data say",))


def smaller_table(scenario: Scenario) -> Table | None:
    """The curve of smaller votes."""
    votes = scenario.smaller
    if votes is None:
        return None
    rows = tuple(
        (
            Cell(vote.label),
            estimated(vote.accuracy, percent),
            estimated(vote.tokens, amount),
            estimated(vote.token_share, percent, alone=True),
            estimated(vote.same_answer, percent),
            estimated(vote.sequential_tokens, amount, alone=True),
        )
        for vote in votes.curve
    )
    note = (
        f"Plain votes of fewer traces, drawn from those of cons@{votes.size}. Sequential tokens: "
        "those of the longest trace."
    )
    headings = (
        *("vote", "accuracy", "tokens / problem", "share of tokens"),
        *(f"same answer as cons@{votes.size}", "sequential tokens"),
    )
    return Table(f"Smaller votes: {scenario.name}", headings, rows, (note,))


def smaller_vote_fact(scenario: Scenario, pick: Summary) -> tuple[str, ...]:
    """What a plain vote of as many tokens as the highlighted variant would have given."""
    votes, comparison = scenario.smaller, pick.comparison
    if votes is None or comparison is None or comparison.tokens is None:
        return ()
    vote = votes.at(comparison.tokens.value)
    same = comparison.same_answer
    if vote.accuracy is None or pick.accuracy is None or same is None:
        return ()
    problems = [p for p in pick.problems if p in vote.by_problem]
    right, agrees = (np.array([vote.by_problem[p][i] for p in problems]) for i in (0, 1))
    ours = np.array([pick.by_problem[p][0] for p in problems])
    ours_agrees = np.array([comparison.same_by_problem.get(p, np.nan) for p in problems])
    more = statistics.difference(ours_agrees, agrees)
    better = statistics.difference(ours, right)
    known = [estimate for estimate in (more, better) if estimate is not None]
    told = any(estimate.low > 0 or estimate.high < 0 for estimate in known)
    theirs = percent(vote.accuracy.value), percent(vote.same_answer.value)
    yours = percent(pick.accuracy.value), percent(same.value)
    return (
        f"A plain vote of about as many tokens, {vote.label}, is right on {theirs[0]} and gives "
        f"the answer of cons@{votes.size} on {theirs[1]}; {pick.label} is right on {yours[0]} and "
        f"gives it on {yours[1]}{'' if told else f': {NOT_TOLD_APART}'}.",
    )


def judge_fact(scenario: Scenario, pick: Summary) -> tuple[str, ...]:
    """What the judge of the highlighted variant adds."""
    return tuple(
        f"Beside {credit.control.label}, its judge "
        + (
            f"is {NOT_TOLD_APART} by the data"
            if credit.verdict == NOT_TOLD_APART
            else f"makes a difference: {credit.verdict}"
        )
        + f" ({change(credit.tokens.value)} tokens, {interval(credit.tokens, change)})."
        for credit in credits_of(scenario)
        if credit.judged is pick
    )


def _alike(judged: Variant, control: Variant) -> bool:
    return _rest(judged) == _rest(control) and judged.policy != "oracle"


def _rest(variant: Variant) -> tuple[object, ...]:
    """All that is not about the judge; a control may differ in the rest."""
    settings = tuple(s for s in variant.settings if s[0] not in ABOUT_THE_JUDGE)
    known = (variant.policy, variant.num_traces, variant.checkpoint, variant.tau, variant.driver)
    return (*known, settings)


def _credit(judged: Summary, control: Summary) -> Credit | None:
    problems = [p for p in judged.problems if p in control.by_problem]
    (right, spent), (plain_right, plain_spent) = (
        np.array([s.by_problem[p] for p in problems], dtype=np.float64).reshape(-1, 2).T
        for s in (judged, control)
    )
    tokens = statistics.ratio(spent, plain_spent)
    if tokens is None:
        return None
    return Credit(judged, control, tokens, statistics.difference(right, plain_right))
