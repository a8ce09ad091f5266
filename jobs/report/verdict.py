"""The verdict of a report: the cheapest policy that keeps the accuracy of self-consistency.

Candidates are right at most MARGIN less often than plain self-consistency of the same size. A
policy whose judge knows the answers is a limit and no candidate. Facts say what the data leave
open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepprune import statistics
from deepprune.statistics import Estimate
from jobs.render.format import amount, counted, interval, percent, points, rate, seconds
from jobs.report.controls import judge_fact, smaller_vote_fact
from jobs.report.scenario import Scenario, Summary

MARGIN = 0.01
"""Accuracy that may be lost for a variant to count as keeping up."""

RULE = (
    f"The highlighted variant generates the fewest tokens among variants within "
    f"{100 * MARGIN:.0f} point of plain self-consistency of the same size, the largest there is. "
    "Variants that lack problems, that have a blind judge, or whose judge knew the answers, are "
    "never highlighted."
)
Kind = Literal["saves", "open", "none", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sentence about a scenario, what to add to it, and the variant it is about."""

    scenario: Scenario
    kind: Kind
    headline: str
    facts: tuple[str, ...]
    pick: Summary | None = None

    def numbers(self) -> list[tuple[str, str, str]]:
        """The figures of the highlighted variant: name, value, interval."""
        pick = self.pick
        if pick is None or pick.comparison is None or not pick.comparison.tokens:
            return []
        share, change = pick.comparison.tokens, pick.accuracy_change
        shown = [("tokens, share of cons", percent(share.value), interval(share, percent))]
        for name, estimate in (
            ("accuracy", pick.accuracy),
            ("same answer as cons", pick.comparison.same_answer),
        ):
            if estimate:
                shown.append((name, percent(estimate.value), interval(estimate, percent)))
        if change:
            shown.insert(2, ("points against cons", points(change.value), interval(change, points)))
        return shown


def verdict_of(scenario: Scenario) -> Verdict:
    """The answer for one scenario."""
    plain = scenario.baseline()
    if plain is None:
        return _unknown(scenario, "There is no plain self-consistency to compare with.")
    if plain.accuracy is None:
        return _unknown(scenario, "No problem has a reference answer, so accuracy is unknown.")
    rivals = _rivals(scenario, plain)
    if not rivals:
        text = f"Nothing but {plain.label} covers all problems, so there is nothing to compare."
        return _unknown(scenario, text)
    keeping = [s for s in rivals if _accuracy(s).value >= -MARGIN - 1e-9]
    cheaper = [s for s in keeping if _share(s).value < 1]
    if cheaper:
        pick = cheaper[0]
        clear = _share(pick).high < 1 and _accuracy(pick).low >= -MARGIN
        facts = (
            *_doubts(pick),
            *smaller_vote_fact(scenario, pick),
            *judge_fact(scenario, pick),
            *_next_best(pick, cheaper[1:]),
            *_costs(pick, plain),
        )
        headline = _saving(pick, plain)
        kind: Kind = "saves" if clear else "open"
    else:
        pick = rivals[0]
        headline, kind = _not_saving(pick, plain, keeping), "none"
        facts = _costs(pick, plain)
    return Verdict(scenario, kind, headline, (*facts, *_limit(scenario, plain)), pick)


def overall(verdicts: Sequence[Verdict]) -> str:
    """One sentence over all scenarios, empty where there is only one."""
    if len(verdicts) < 2:
        return ""
    saving = [g for g in verdicts if g.kind in ("saves", "open") and g.pick]
    policies = sorted({g.pick.variant.policy for g in saving if g.pick})
    counts = [
        f"{policy} in {sum(g.pick is not None and g.pick.variant.policy == policy for g in saving)}"
        for policy in policies
    ]
    if not counts:
        return f"In none of {len(verdicts)} scenarios does a policy save tokens and keep up."
    return (
        f"Of {len(verdicts)} scenarios, the cheapest variant that keeps up is {', '.join(counts)}."
    )


def _rivals(scenario: Scenario, plain: Summary) -> list[Summary]:
    """Variants that can be compared with the baseline on all problems, the cheapest first."""
    rivals = [
        s
        for s in scenario.summaries
        if not (s.variant.is_baseline or s.variant.is_limit or s.variant.is_control)
        and s.variant.num_traces == plain.variant.num_traces
        and s.label not in scenario.missing
        and s.accuracy_change is not None
        and s.token_share is not None
    ]
    return sorted(rivals, key=lambda s: _share(s).value)


def _share(summary: Summary) -> Estimate:
    assert summary.token_share is not None
    return summary.token_share


def _accuracy(summary: Summary) -> Estimate:
    assert summary.accuracy_change is not None
    return summary.accuracy_change


def _saving(pick: Summary, plain: Summary) -> str:
    assert pick.accuracy is not None and plain.accuracy is not None
    share, accuracy = _share(pick), _accuracy(pick)
    return (
        f"{pick.label} generates {percent(share.value)} of {plain.label}'s tokens "
        f"(95% interval {interval(share, percent)}) and is right on {percent(pick.accuracy.value)} "
        f"where {plain.label} is right on {percent(plain.accuracy.value)}: "
        f"{points(accuracy.value)} points ({interval(accuracy, points)})."
    )


def _not_saving(pick: Summary, plain: Summary, keeping: Sequence[Summary]) -> str:
    share, accuracy = _share(pick), _accuracy(pick)
    if keeping:
        return f"No variant that keeps up with {plain.label} generates fewer tokens."
    return (
        f"No variant keeps up with {plain.label}. The cheapest, {pick.label}, generates "
        f"{percent(share.value)} of its tokens ({interval(share, percent)}) and is right less "
        f"often: {points(accuracy.value)} points ({interval(accuracy, points)})."
    )


def _doubts(pick: Summary) -> tuple[str, ...]:
    share, accuracy = _share(pick), _accuracy(pick)
    doubts = []
    if share.high >= 1:
        doubts.append("Whether it really generates fewer tokens is open: the interval includes 1.")
    if accuracy.low < -MARGIN:
        number = counted(pick.comparison.num_problems if pick.comparison else 0, "problem")
        doubts.append(
            f"With {number}, a loss of up to {100 * -accuracy.low:.1f} points cannot be excluded."
        )
    elif accuracy.low > 0:
        doubts.append("It is right more often than plain self-consistency, beyond chance.")
    return tuple(doubts)


def _next_best(pick: Summary, others: Sequence[Summary]) -> tuple[str, ...]:
    """Whether the next cheapest that keeps up can be told apart; the same policy does not count."""
    following = next((s for s in others if s.variant.policy != pick.variant.policy), None)
    if following is None:
        return ()
    problems = sorted(set(pick.problems) & set(following.problems))
    ours, theirs = (
        np.array([s.by_problem[problem][1] for problem in problems]) for s in (pick, following)
    )
    ratio = statistics.ratio(ours, theirs)
    told = ratio is not None and ratio.high < 1
    words = "The next policy that keeps up" if told else "Not told apart from it by the data"
    return (f"{words}: {following.label}, {percent(_share(following).value)} of the tokens.",)


def _costs(pick: Summary, plain: Summary) -> tuple[str, ...]:
    costs = []
    if pick.judge_share is not None and pick.judge_share.value > 0:
        reads, cached = pick.judge_tokens, pick.costs.get("judge_cached_tokens")
        part = f", {percent(cached.value / reads.value, 0)} cached" if cached and reads else ""
        costs.append(
            f"On top of that its judge reads {rate(pick.judge_share.value)} tokens for each token "
            f"generated{part}."
        )
    latency = []
    for name, show, unit in (
        ("rounds", rate, " rounds"),
        ("sequential_tokens", amount, " sequential tokens"),
        ("wall_s", seconds, ""),
    ):
        ours, theirs = pick.costs.get(name), plain.costs.get(name)
        if ours and theirs:
            latency.append(f"{show(ours.value)}{unit} against {show(theirs.value)}")
    if latency:
        kind = "virtual time" if pick.variant.driver == "replay" else "time"
        costs.append(f"Latency per problem: {' and '.join(latency)} ({kind}).")
    return tuple(costs)


def _limit(scenario: Scenario, plain: Summary) -> tuple[str, ...]:
    perfect = [
        s
        for s in scenario.summaries
        if s.variant.judge_auroc == 1
        and s.variant.num_traces == plain.variant.num_traces
        and s.token_share is not None
    ]
    if not perfect:
        return ()
    best = min(perfect, key=lambda s: _share(s).value)
    return (
        f"The limit, with a judge that knows the answers: {best.label} at "
        f"{percent(_share(best).value)} of the tokens.",
    )


def _unknown(scenario: Scenario, headline: str) -> Verdict:
    spent = [
        f"{s.label} {amount(s.tokens.value)} tokens per problem"
        for s in scenario.summaries
        if s.tokens is not None
    ]
    return Verdict(scenario, "unknown", headline, (f"Spent: {'; '.join(spent)}.",) if spent else ())
