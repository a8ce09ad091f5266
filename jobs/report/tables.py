"""The tables of a report, as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deepprune.policy_config import JUDGE_PRICE
from jobs.render.format import (
    DASH,
    amount,
    change,
    counted,
    percent,
    points,
    published_tokens,
    rate,
    seconds,
)
from jobs.render.table import NOTHING, Cell, Kind, Table, estimated
from jobs.report import published
from jobs.report.scenario import Scenario, Summary
from jobs.report.variants import description


def figures(scenario: Scenario) -> Table:
    """Everything about a scenario, a row for each variant."""
    headings = (
        *("variant", "accuracy", "Δ accuracy", "tokens / problem", "Δ tokens"),
        *("rounds", "Δ sequential tokens", _time_heading(scenario), "judge tokens", "bill"),
        "same answer as cons",
        *("better / worse", "problems × seeds"),
    )
    rows = tuple(_figures_row(summary) for summary in scenario.summaries)
    notes = (
        "Below each figure: its 95% bootstrap interval over problems. Δ is against cons of the "
        "same size on the same problems and seeds, in percentage points for accuracy; tokens are "
        "those generated, the judge's not counted; sequential tokens those of the longest chain of "
        "traces that waited for each other; the bill adds what was read (see its table). Better / "
        "worse: problems on which the variant was right more or less often than cons.",
        *scenario.notes,
    )
    return Table(scenario.name, headings, rows, notes)


def paper_form(scenarios: Sequence[Scenario]) -> Table:
    """The form of Table 2: methods down, models and benchmarks across."""
    found: dict[str, list[Summary | None]] = {}
    for place, scenario in enumerate(scenarios):
        for summary in scenario.compared:
            found.setdefault(summary.label, [None] * len(scenarios))[place] = summary
    rows: list[tuple[Cell, ...]] = []
    for label, summaries in found.items():
        kind: Kind = "limit" if any(s and s.variant.is_limit for s in summaries) else ""
        rows.append((Cell(label, kind=kind), Cell("tokens"), *map(_total, summaries)))
        if not all(s is None or s.variant.is_baseline for s in summaries):
            rows.append((Cell("", kind=kind), Cell("Δ"), *_bare(map(_change, summaries))))
        rows.append((Cell("", kind=kind), Cell("accuracy"), *_bare(map(_accuracy, summaries))))
    rows += _published_rows(scenarios)
    notes = [
        "Tokens of the whole benchmark, run once: seeds are averaged. Intervals, and variants with "
        "judges made noisy on purpose, stand in the tables of figures."
    ]
    if any(s.variant.is_limit for of in scenarios for s in of.compared):
        notes.append("In italics: limits, whose judge knew the answers.")
    if any(row[0].kind == "published" for row in rows):
        notes.append(
            "Published: Table 2 of the DeepPrune paper, same model, benchmark and number of traces "
            "(n=512). †: quoted there from DeepConf."
        )
    groups: list[tuple[str, int]] = [("", 2)]
    for scenario in scenarios:
        name, number = groups[-1]
        if name == scenario.model:
            groups[-1] = (name, number + 1)
        else:
            groups.append((scenario.model, 1))
    headings = ("method", "", *(scenario.benchmark for scenario in scenarios))
    return Table(
        "In the form of the paper's Table 2", headings, tuple(rows), tuple(notes), tuple(groups), 2
    )


def bill(scenario: Scenario) -> Table | None:
    """What each variant read beside what it generated, per problem, and all of it as one price."""
    reading = (
        *("judge_pairs", "judge_computed_tokens", "judge_cached_tokens"),
        *("prompt_computed_tokens", "prompt_cached_tokens"),
    )
    costs = [s.costs.get(name) for s in scenario.summaries for name in reading]
    if not any(cost and cost.value for cost in costs):
        return None
    rows = tuple(
        (
            Cell(s.label, kind=s.variant.kind),
            estimated(s.tokens, amount),
            *(estimated(s.costs.get(name), amount) for name in reading),
            estimated(s.bill, amount),
            estimated(s.costs.get("judge_s"), seconds, alone=True),
        )
        for s in scenario.summaries
    )
    headings = (
        *("variant", "tokens", "pairs", "computed", "cached", "computed", "cached"),
        *("bill", "judge time"),
    )
    groups = (("", 1), ("generated", 1), ("read by the judge", 3))
    more = (("prompts and re-read prefixes", 2), ("", 2))
    note = (
        "Per problem. Prompts are read once for each trace, and its prefix again where a paused "
        f"trace goes on. The bill adds {JUDGE_PRICE:g} of a generated token for each token that "
        "reading computed, and nothing for cached ones."
    )
    return Table(f"Bill: {scenario.name}", headings, rows, (note,), (*groups, *more))


def variant_table(scenarios: Sequence[Scenario]) -> Table:
    """The settings behind each label."""
    variants = {s.label: s.variant for scenario in scenarios for s in scenario.summaries}
    rows = tuple(
        (
            Cell(label, kind=variant.kind),
            Cell(variant.policy),
            Cell(description(variant)),
        )
        for label, variant in variants.items()
    )
    note = "Settings at their default are left out."
    return Table(
        "What the variants are",
        ("variant", "policy", "settings"),
        rows,
        (note,),
        (),
        3,
        ("settings",),
    )


def _figures_row(summary: Summary) -> tuple[Cell, ...]:
    comparison, costs = summary.comparison, summary.costs
    same = comparison.same_answer if comparison else None
    turned = NOTHING
    if comparison and comparison.accuracy:
        better = sum(ours > plain for ours, plain in comparison.changed.values())
        turned = Cell(f"{better} / {len(comparison.changed) - better}")
    covered = f"{len(summary.problems)} × {len(summary.seeds)}"
    left_out = f"{summary.num_interrupted} interrupted" if summary.num_interrupted else ""
    return (
        Cell(summary.label, kind=summary.variant.kind),
        _accuracy(summary),
        estimated(summary.accuracy_change, points),
        estimated(summary.tokens, amount),
        _change(summary),
        estimated(costs.get("rounds"), rate, alone=True),
        estimated(comparison.sequential_tokens if comparison else None, change),
        estimated(costs.get("wall_s"), seconds, alone=True),
        _judge_cell(summary),
        estimated(summary.bill, amount),
        estimated(same, percent),
        turned,
        Cell(covered, left_out),
    )


def _judge_cell(summary: Summary) -> Cell:
    if not summary.variant.judge and not (summary.judge_tokens and summary.judge_tokens.value):
        return NOTHING
    return estimated(summary.judge_tokens, amount)


def _time_heading(scenario: Scenario) -> str:
    drivers = {summary.variant.driver for summary in scenario.summaries}
    return {"replay": "virtual time", "live": "wall time"}.get(
        drivers.pop() or "" if len(drivers) == 1 else "", "time"
    )


def _accuracy(summary: Summary | None) -> Cell:
    return estimated(summary.accuracy if summary else None, percent)


def _total(summary: Summary | None) -> Cell:
    total = None if summary is None else summary.total_tokens
    return NOTHING if total is None else Cell(amount(total))


def _bare(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Without intervals, as in the paper; they stand in the tables of figures."""
    return (replace(cell, below="") for cell in cells)


def _change(summary: Summary | None) -> Cell:
    return estimated(summary.token_share if summary else None, change)


def _published_rows(scenarios: Sequence[Scenario]) -> list[tuple[Cell, ...]]:
    columns = []
    for scenario in scenarios:
        sizes = {s.variant.num_traces for s in scenario.summaries}
        found = published.results(scenario.model, scenario.benchmark, sizes)
        columns.append({result.row: result for result in found})
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(name for column in columns for name in column):
        cells = [column.get(name) for column in columns]
        lines = [
            ("tokens", [published_tokens(c.tokens) if c else DASH for c in cells]),
            ("Δ", [change(1 + c.change) if c and c.change else DASH for c in cells]),
            ("accuracy", [percent(c.accuracy) if c else DASH for c in cells]),
        ]
        for place, (heading, texts) in enumerate(lines):
            if set(texts) != {DASH}:
                label = "" if place else f"{name} (published)"
                rows.append(tuple(Cell(t, kind="published") for t in (label, heading, *texts)))
    return rows


def problems_and_seeds(scenario: Scenario) -> str:
    """The size of a scenario in words."""
    seeds = {seed for summary in scenario.summaries for seed in summary.seeds}
    return f"{counted(len(scenario.problems), 'problem')}, {counted(len(seeds), 'seed')}"
