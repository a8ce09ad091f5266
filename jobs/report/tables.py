"""The tables of a report, as data; `html.py` and `markdown.py` write them down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deepprune.statistics import Estimate
from jobs.render.format import (
    DASH,
    amount,
    amount_range,
    change,
    change_range,
    percent,
    percent_range,
    points,
    points_range,
    published_tokens,
    rate,
    rate_range,
    seconds,
)
from jobs.render.theme import counted
from jobs.report import published
from jobs.report.summary import Setting, Summary
from jobs.report.variants import description

Kind = Literal["", "name", "published", "limit"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, and its interval below it."""

    text: str
    below: str = ""
    kind: Kind = ""


@dataclass(frozen=True)
class Table:
    """`groups` stand above the headings: a name, and how many headings it spans."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()
    num_names: int = 1
    """Columns at the left that name the row."""


NOTHING = Cell(DASH)


def figures(setting: Setting) -> Table:
    """Everything about a setting, a row for each entry."""
    headings = (
        *("entry", "accuracy", "Δ accuracy", "tokens / problem", "Δ tokens"),
        *("rounds", _time_heading(setting), "judge tokens", "same answer as cons"),
        *("better / worse", "problems × seeds"),
    )
    rows = tuple(_figures_row(summary) for summary in setting.summaries)
    notes = (
        "Below each figure: its 95% bootstrap interval over problems. Δ is against cons of the "
        "same size on the same problems and seeds, in percentage points for accuracy; tokens are "
        "those generated, the judge's not counted. Better / worse: problems on which the entry "
        "was right more or less often than cons.",
        *setting.notes,
    )
    return Table(setting.name, headings, rows, notes)


def paper_form(settings: Sequence[Setting]) -> Table:
    """The form of Table 2: methods down, models and benchmarks across."""
    found: dict[str, list[Summary | None]] = {}
    for place, setting in enumerate(settings):
        for summary in setting.compared:
            found.setdefault(summary.label, [None] * len(settings))[place] = summary
    rows: list[tuple[Cell, ...]] = []
    for label, summaries in found.items():
        kind: Kind = "limit" if any(s and s.entry.is_limit for s in summaries) else "name"
        rows.append((Cell(label, kind=kind), Cell("tokens"), *map(_total, summaries)))
        if not all(s is None or s.entry.is_baseline for s in summaries):
            rows.append((Cell("", kind=kind), Cell("Δ"), *_bare(map(_change, summaries))))
        rows.append((Cell("", kind=kind), Cell("accuracy"), *_bare(map(_accuracy, summaries))))
    rows += _published_rows(settings)
    notes = [
        "Tokens of the whole benchmark, run once: seeds are averaged. Intervals, and entries with "
        "judges blurred on purpose, stand in the tables of figures."
    ]
    if any(s.entry.is_limit for of in settings for s in of.compared):
        notes.append("In italics: limits, whose judge knew the answers.")
    if any(row[0].kind == "published" for row in rows):
        notes.append(
            "Published: Table 2 of the DeepPrune paper, same model, benchmark and number of traces "
            "(n=512). †: quoted there from DeepConf."
        )
    groups: list[tuple[str, int]] = [("", 2)]
    for setting in settings:
        name, number = groups[-1]
        if name == setting.model:
            groups[-1] = (name, number + 1)
        else:
            groups.append((setting.model, 1))
    headings = ("method", "", *(setting.benchmark for setting in settings))
    return Table(
        "In the form of the paper's Table 2", headings, tuple(rows), tuple(notes), tuple(groups), 2
    )


def judge_bill(setting: Setting) -> Table | None:
    """What the judges of a setting were asked and what they read, per problem."""
    asked = {s.label: _cost(s, "judge_pairs") for s in setting.summaries}
    judging = [
        s
        for s in setting.summaries
        if s.entry.judge or ((pairs := asked[s.label]) is not None and pairs.value > 0)
    ]
    if not judging:
        return None
    rows = []
    for s in judging:
        computed = _cost(s, "judge_computed_tokens")
        cached = _cost(s, "judge_cached_tokens")
        rows.append(
            (
                Cell(s.label, kind=_kind(s)),
                estimated(_cost(s, "judge_pairs"), amount, amount_range),
                estimated(computed, amount, amount_range),
                estimated(cached, amount, amount_range),
                estimated(s.judge_share, rate, rate_range),
                estimated(_cost(s, "judge_s"), seconds),
            )
        )
    headings = (
        *("entry", "pairs", "tokens computed", "tokens cached"),
        *("read per token generated", "judge time"),
    )
    note = (
        "Per problem. A token the judge reads is prefill of its model; it is never added to the "
        "tokens generated, since the two cost differently."
    )
    return Table(f"Judge bill: {setting.name}", headings, tuple(rows), (note,))


def what_entries_are(settings: Sequence[Setting]) -> Table:
    """The settings behind each label."""
    entries = {s.label: s.entry for setting in settings for s in setting.summaries}
    rows = tuple(
        (
            Cell(label, kind="limit" if entry.is_limit else "name"),
            Cell(entry.policy),
            Cell(description(entry)),
        )
        for label, entry in entries.items()
    )
    note = "Settings at their default are left out."
    return Table("What the entries are", ("entry", "policy", "settings"), rows, (note,), (), 3)


def _figures_row(summary: Summary) -> tuple[Cell, ...]:
    versus, costs = summary.versus, summary.costs
    same = versus.same_answer if versus else None
    change_in_accuracy = versus.accuracy if versus else None
    turned = NOTHING
    if versus and versus.accuracy:
        better = sum(ours > plain for ours, plain in versus.changed.values())
        turned = Cell(f"{better} / {len(versus.changed) - better}")
    covered = f"{len(summary.problems)} × {len(summary.seeds)}"
    left_out = f"{summary.num_interrupted} interrupted" if summary.num_interrupted else ""
    return (
        Cell(summary.label, kind=_kind(summary)),
        _accuracy(summary),
        estimated(change_in_accuracy, points, points_range),
        estimated(summary.tokens, amount, amount_range),
        _change(summary),
        estimated(costs.get("rounds"), rate),
        estimated(costs.get("wall_s"), seconds),
        _judge_cell(summary),
        estimated(same, percent, percent_range),
        turned,
        Cell(covered, left_out),
    )


def _judge_cell(summary: Summary) -> Cell:
    if not summary.entry.judge and not (summary.judge_tokens and summary.judge_tokens.value):
        return NOTHING
    return estimated(summary.judge_tokens, amount, amount_range)


def _time_heading(setting: Setting) -> str:
    drivers = {summary.entry.driver for summary in setting.summaries}
    return {"replay": "virtual time", "live": "wall time"}.get(
        drivers.pop() or "" if len(drivers) == 1 else "", "time"
    )


def _kind(summary: Summary) -> Kind:
    return "limit" if summary.entry.is_limit else "name"


def _cost(summary: Summary, name: str) -> Estimate | None:
    return summary.costs.get(name)


def estimated(
    estimate: Estimate | None,
    show: Callable[[float], str],
    interval: Callable[[Estimate], str] | None = None,
) -> Cell:
    """A figure with its interval, or a dash where there is none."""
    if estimate is None:
        return NOTHING
    return Cell(show(estimate.value), interval(estimate) if interval else "")


def _accuracy(summary: Summary | None) -> Cell:
    return estimated(summary.accuracy if summary else None, percent, percent_range)


def _total(summary: Summary | None) -> Cell:
    total = None if summary is None else summary.total_tokens
    return NOTHING if total is None else Cell(amount(total))


def _bare(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Without intervals, as in the paper; they stand in the tables of figures."""
    return (replace(cell, below="") for cell in cells)


def _change(summary: Summary | None) -> Cell:
    if summary is None or summary.versus is None:
        return NOTHING
    return estimated(summary.versus.tokens, change, change_range)


def _published_rows(settings: Sequence[Setting]) -> list[tuple[Cell, ...]]:
    columns = []
    for setting in settings:
        sizes = {s.entry.num_traces for s in setting.summaries}
        size = published.NUM_TRACES if published.NUM_TRACES in sizes else None
        found = published.results(setting.model, setting.benchmark, size)
        columns.append({result.row: result for result in found})
    names = dict.fromkeys(name for column in columns for name in column)
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        cells = [column.get(name) for column in columns]
        label = Cell(f"{name} (published)", kind="published")
        tokens = [
            Cell(published_tokens(c.tokens), kind="published") if c else NOTHING for c in cells
        ]
        right = [Cell(percent(c.accuracy), kind="published") if c else NOTHING for c in cells]
        changes = [
            Cell(change(1 + c.change), kind="published") if c and c.change else NOTHING
            for c in cells
        ]
        empty = Cell("", kind="published")
        rows.append((label, Cell("tokens", kind="published"), *tokens))
        if any(cell is not NOTHING for cell in changes):
            rows.append((empty, Cell("Δ", kind="published"), *changes))
        rows.append((empty, Cell("accuracy", kind="published"), *right))
    return rows


def problems_and_seeds(setting: Setting) -> str:
    """The size of a setting in words."""
    seeds = {seed for summary in setting.summaries for seed in summary.seeds}
    return f"{counted(len(setting.problems), 'problem')}, {counted(len(seeds), 'seed')}"
