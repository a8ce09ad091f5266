"""The figures of a report: what each variant cost and how often it was right, and against cons.

Outcomes are grouped into scenarios (a model on a benchmark) and variants. Seeds are averaged within
a problem, and intervals are over problems. A variant is compared with the plain self-consistency of
its size, on the problems and seeds that both have. `Scenario.notes` name missing outcomes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from deepprune import statistics
from deepprune.grading import agree
from deepprune.statistics import Floats
from jobs.report.load import Row, Run
from jobs.report.notes import notes_of
from jobs.report.scenario import Comparison, Key, Rows, Scenario, Summary
from jobs.report.smaller_votes import smaller_votes
from jobs.report.variants import Variant, in_order, labels, variant_of

Value = Callable[[Row], float | None]


@dataclass
class _Group:
    rows: dict[Key, Row] = field(default_factory=dict)
    interrupted: list[Row] = field(default_factory=list)
    num_doubled: int = 0

    def add(self, row: Row) -> None:
        key = (row.problem_id, row.seed)
        if not row.complete:
            self.interrupted.append(row)
        else:
            self.num_doubled += key in self.rows
            self.rows[key] = row

    @property
    def runs(self) -> set[int]:
        return {row.run for row in (*self.rows.values(), *self.interrupted)}


def summarise(runs: Sequence[Run]) -> list[Scenario]:
    """All scenarios of some runs, in order of model and benchmark."""
    grouped = _grouped(runs)
    named = labels(in_order(variant for of in grouped.values() for variant in of))
    scenarios = (
        _scenario(model, benchmark, grouped[model, benchmark], named)
        for model, benchmark in sorted(grouped)
    )
    return [_with_smaller_votes(scenario, runs) for scenario in scenarios]


def _with_smaller_votes(scenario: Scenario, runs: Sequence[Run]) -> Scenario:
    plain = scenario.baseline()
    if plain is None:
        return scenario
    votes = smaller_votes(plain.variant.num_traces or 0, tuple(plain.rows.values()), runs)
    return replace(scenario, smaller=votes)


def _grouped(runs: Sequence[Run]) -> dict[tuple[str, str], dict[Variant, _Group]]:
    """Rows by scenario and variant; two runs that hold the same outcome are two variants."""
    held_by: dict[tuple[str, Variant, Key], set[int]] = defaultdict(set)
    for row in (row for run in runs for row in run.rows):
        held_by[row.model, variant_of(row), (row.problem_id, row.seed)].add(row.run)
    apart = {(model, variant) for (model, variant, _), held in held_by.items() if len(held) > 1}
    grouped: dict[tuple[str, str], dict[Variant, _Group]] = defaultdict(dict)
    for run in runs:
        for row in run.rows:
            variant = variant_of(row)
            if (row.model, variant) in apart:
                variant = variant_of(row, run.name)
            grouped[row.model, row.benchmark].setdefault(variant, _Group()).add(row)
    return grouped


def _scenario(
    model: str, benchmark: str, groups: Mapping[Variant, _Group], named: Mapping[Variant, str]
) -> Scenario:
    problems = tuple(
        sorted({r.problem_id for g in groups.values() for r in (*g.rows.values(), *g.interrupted)})
    )
    summaries = []
    for variant in in_order(groups):
        group = groups[variant]
        baseline = _baseline_of(variant, groups)
        comparison = None
        if baseline is not None and baseline != variant:
            comparison = _comparison(baseline, group.rows, groups[baseline].rows)
        summaries.append(_summary(variant, named[variant], group, comparison))
    missing = {
        summary.label: tuple(p for p in problems if p not in summary.problems)
        for summary in summaries
        if len(summary.problems) < len(problems)
    }
    notes = notes_of(
        summaries,
        missing,
        doubled={named[variant]: group.num_doubled for variant, group in groups.items()},
        interrupted={named[variant]: group.interrupted for variant, group in groups.items()},
        num_problems=len(problems),
    )
    return Scenario(model, benchmark, problems, tuple(summaries), notes, missing)


def _summary(variant: Variant, label: str, group: _Group, comparison: Comparison | None) -> Summary:
    rows = group.rows
    problems = tuple(sorted({problem for problem, _ in rows}))
    accuracy = _by_problem(rows, _accuracy, problems)
    tokens = _by_problem(rows, _tokens, problems)
    judge = _by_problem(rows, lambda row: row.judge_tokens, problems)
    names = dict.fromkeys(name for row in rows.values() for name in row.values)
    costs = {name: statistics.mean(_by_problem(rows, _cost(name), problems)) for name in names}
    return Summary(
        variant=variant,
        label=label,
        rows=rows,
        num_interrupted=len(group.interrupted),
        problems=problems,
        seeds=tuple(sorted({seed for _, seed in rows}, key=lambda s: (s is None, s or 0))),
        total_tokens=None if np.isnan(tokens).all() else float(np.nansum(tokens)),
        accuracy=statistics.mean(accuracy),
        tokens=statistics.mean(tokens),
        costs={name: estimate for name, estimate in costs.items() if estimate is not None},
        bill=statistics.mean(_by_problem(rows, lambda row: row.bill, problems)),
        judge_tokens=statistics.mean(judge),
        judge_share=statistics.ratio(judge, tokens),
        by_problem={
            problem: (float(right), float(spent))
            for problem, right, spent in zip(problems, accuracy, tokens, strict=True)
        },
        comparison=comparison,
    )


def _comparison(baseline: Variant, rows: Rows, plain: Rows) -> Comparison | None:
    keys = rows.keys() & plain.keys()
    if not keys:  # no seed in common, as in a demo: compare the first seeds, the second, ...
        rows, plain = _by_rank(rows), _by_rank(plain)
        keys = rows.keys() & plain.keys()
    if not keys:
        return None
    problems = tuple(sorted({problem for problem, _ in keys}))
    ours, theirs = {key: rows[key] for key in keys}, {key: plain[key] for key in keys}
    same = {key: agree(ours[key].answer, theirs[key].answer) for key in keys}
    same_share = means(same, problems)
    (right, plain_right), (spent, plain_spent), waited = (
        [_by_problem(of, value, problems) for of in (ours, theirs)]
        for value in (_accuracy, _tokens, _cost("sequential_tokens"))
    )
    return Comparison(
        baseline=baseline,
        num_problems=len(problems),
        accuracy=statistics.difference(right, plain_right),
        tokens=statistics.ratio(spent, plain_spent),
        sequential_tokens=statistics.ratio(*waited),
        same_answer=statistics.mean(same_share),
        same_by_problem=dict(zip(problems, same_share.tolist(), strict=True)),
        changed={
            problem: (float(a), float(b))
            for problem, a, b in zip(problems, right, plain_right, strict=True)
            if a != b and not np.isnan(a + b)
        },
    )


def _baseline_of(variant: Variant, groups: Mapping[Variant, _Group]) -> Variant | None:
    """Plain self-consistency of the same size; of the same run and driver where there are more."""
    plain = [e for e in groups if e.is_baseline and e.num_traces == variant.num_traces]
    return max(
        plain,
        key=lambda e: (
            e == variant,
            bool(groups[e].runs & groups[variant].runs),
            e.driver == variant.driver,
        ),
        default=None,
    )


def _by_rank(rows: Rows) -> Rows:
    """The outcomes of each problem under 0, 1, ... in place of their seeds."""
    ranks: dict[str, int] = defaultdict(int)
    ranked: dict[Key, Row] = {}
    for (problem, _), row in sorted(rows.items(), key=lambda item: item[0][1] or 0):
        ranked[problem, ranks[problem]] = row
        ranks[problem] += 1
    return ranked


def _by_problem(rows: Rows, value: Value, problems: Sequence[str]) -> Floats:
    """A value of the outcomes of each problem, averaged over its seeds."""
    return means({key: value(row) for key, row in rows.items()}, problems)


def means(values: Mapping[Key, float | None], problems: Sequence[str]) -> Floats:
    """The mean over the seeds of each problem; NaN where there is no value."""
    found: dict[str, list[float]] = {problem: [] for problem in problems}
    for (problem, _), value in values.items():
        if value is not None:
            found[problem].append(value)
    return np.array([sum(of) / len(of) if of else np.nan for of in found.values()])


def _accuracy(row: Row) -> float | None:
    return row.correct


def _tokens(row: Row) -> float | None:
    return row.tokens


def _cost(name: str) -> Value:
    return lambda row: row.values.get(name)
