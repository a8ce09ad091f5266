"""Puts a report together and writes it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deepprune.errors import UserError
from deepprune.ledger import Fate
from jobs.render import html
from jobs.render.format import counted
from jobs.render.html import Section
from jobs.render.table import Table
from jobs.render.text import common_part, markdown_text, one_line
from jobs.render.theme import FATE_NAMES
from jobs.report.controls import credit_table, smaller_table
from jobs.report.load import Run, load_runs
from jobs.report.pages import Pages, build_pages
from jobs.report.scenario import Scenario
from jobs.report.summary import summarise
from jobs.report.tables import bill, figures, paper_form, problems_and_seeds, variant_table
from jobs.report.thresholds import similarity_table, threshold_table
from jobs.report.trace_texts import TraceTexts, count_pairs
from jobs.report.verdict import RULE, Verdict, overall, verdict_of

if TYPE_CHECKING:
    from jobs.render.figures import Plot

FILE = "report.html"
PACKAGE = "jobs.report"
MAX_TEXT_MB = 16.0
METHOD = (
    "Intervals are 95% percentile bootstrap intervals over problems (2,000 resamplings, seeds "
    "averaged within a problem; differences and ratios to cons are resampled in pairs). They say "
    "how far the problems that happen to be in the benchmark matter; where all outcomes were alike "
    "an interval has no width, which does not make the figure exact."
)


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    markdown_file: Path | None = None,
    max_text_mb: float = MAX_TEXT_MB,
) -> None:
    """Write `report.html` and the PNGs into `out`, and the tables into `markdown_file`.

    Raises:
        UserError: a folder is no run's, or something cannot be written.
    """
    from jobs.report.gallery import draw

    with Console(stderr=True).status("reading the runs") as status:
        runs = load_runs(folders)
        folder = out or _default_folder(runs)
        _make(folder)
        status.update("computing the figures")
        scenarios = summarise(runs)
        verdicts = [verdict_of(scenario) for scenario in scenarios]
        status.update("reading the traces")
        texts = TraceTexts(runs)
        tables = _Tables.of(scenarios, runs, texts)
        status.update("packing the traces")
        pages = build_pages(scenarios, runs, texts, round(max_text_mb * 1e6))
        status.update("drawing")
        plots = [
            draw(verdict, of.pages, runs, folder, suffix)
            for verdict, of, suffix in zip(verdicts, pages, _suffixes(scenarios), strict=True)
        ]
        title = _title(scenarios)
        names = ", ".join(one_line(run.name, 80) for run in runs)
        document = html.page(
            title,
            _subject(scenarios, runs),
            _sections(verdicts, tables, plots, pages, texts),
            f"{'Run' if len(runs) == 1 else 'Runs'}: {names}.",
            style=html.asset(PACKAGE, "report.css"),
            after=html.render(
                PACKAGE,
                "reader.html",
                fates=[FATE_NAMES[fate] for fate in Fate],
                script=html.asset(PACKAGE, "report.js"),
            ),
        )
        _write(folder / FILE, document)
        if markdown_file is not None:
            _make(markdown_file.parent)
            _write(markdown_file, _markdown(title, verdicts, tables.all()))
    for verdict in verdicts:
        where = f"{verdict.scenario.name}: " if len(verdicts) > 1 else ""
        sys.stdout.write(f"{one_line(where + verdict.headline, 2000)}\n")
    sys.stderr.write(f"report in {folder / FILE}\n")


@dataclass(frozen=True)
class _Tables:
    """All tables of a report."""

    paper: Table
    scenarios: list[list[Table]]
    pairs: list[Table]
    variants: Table

    @classmethod
    def of(cls, scenarios: Sequence[Scenario], runs: Sequence[Run], texts: TraceTexts) -> _Tables:
        """Compute them."""
        found = (
            (
                figures(s),
                smaller_table(s),
                credit_table(s),
                bill(s),
                threshold_table(s, runs, texts),
            )
            for s in scenarios
        )
        pairs = similarity_table(count_pairs(runs, texts))
        return cls(
            paper_form(scenarios),
            [[table for table in of if table is not None] for of in found],
            [pairs] if pairs else [],
            variant_table(scenarios),
        )

    def all(self) -> list[Table]:
        """In the order of the document."""
        return [self.paper, *chain(*self.scenarios), *self.pairs, self.variants]


def _sections(
    verdicts: Sequence[Verdict],
    tables: _Tables,
    plots: Sequence[Sequence[Plot]],
    pages: Sequence[Pages],
    texts: TraceTexts,
) -> list[Section]:
    single, problems = [], []
    for number, verdict in enumerate(verdicts):
        problems.append(_problems(number, verdict, pages[number]))
        name = verdict.scenario.name if len(verdicts) > 1 else "Figures"
        first, *others = tables.scenarios[number]
        blocks = [*plots[number][:1], first, *plots[number][1:], *others]
        single.append(Section(f"scenario-{number}", one_line(name, 80), blocks))
    comparison = Section("comparison", "Comparison", [tables.paper])
    at_a_glance = html.render(
        PACKAGE,
        "verdicts.html",
        lead=overall(verdicts),
        verdicts=verdicts,
        notes=[RULE, *texts.notes],
    )
    return [
        Section("verdict", "At a glance", [at_a_glance]),
        *([comparison, *single] if len(verdicts) > 1 else [*single, comparison]),
        *([Section("agreement", "Agreement", tables.pairs)] if tables.pairs else []),
        Section("problems", "Problems", problems),
        Section("method", "Method", [METHOD, tables.variants]),
    ]


def _problems(number: int, verdict: Verdict, pages: Pages) -> str:
    """A closed line for each problem; a browser builds the rest when it is opened."""
    shown = (verdict.scenario.baseline(), verdict.pick)
    labels = [summary.label for summary in shown if summary is not None]
    return html.render(
        PACKAGE,
        "problems.html",
        number=number,
        name=verdict.scenario.name,
        note=pages.note,
        pages=pages.pages,
        labels=labels,
        pick=labels[-1] if labels else "",
        common=common_part(ids) if len(ids := verdict.scenario.problems) > 1 else "",
    )


def _markdown(title: str, verdicts: Sequence[Verdict], tables: Sequence[Table]) -> str:
    """The sentences and tables, for papers and pull requests."""
    parts = [f"# {markdown_text(title)}", "## At a glance"]
    for verdict in verdicts:
        facts = "\n".join(f"- {markdown_text(fact)}" for fact in verdict.facts)
        name, headline = markdown_text(verdict.scenario.name), markdown_text(verdict.headline)
        parts += [f"**{name}.** {headline}", *([facts] if facts else [])]
    parts += [markdown_text(RULE), *(table.markdown() for table in tables)]
    return "\n\n".join(parts) + "\n"


def _suffixes(scenarios: Sequence[Scenario]) -> list[str]:
    """An addition to the names of a scenario's pictures; empty where there is only one."""
    if len(scenarios) == 1:
        return [""]
    names = (f"{scenario.model}-{scenario.benchmark}" for scenario in scenarios)
    plain = (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:60] for name in names)
    return [f"-{number}-{name}" for number, name in enumerate(plain, start=1)]


def _title(scenarios: Sequence[Scenario]) -> str:
    if len(scenarios) == 1:
        return one_line(scenarios[0].name, 160)
    models = {scenario.model for scenario in scenarios}
    benchmarks = {scenario.benchmark for scenario in scenarios}
    return f"{counted(len(models), 'model')}, {counted(len(benchmarks), 'benchmark')}"


def _subject(scenarios: Sequence[Scenario], runs: Sequence[Run]) -> str:
    outcomes = sum(len(run.rows) for run in runs)
    variants = {summary.label for scenario in scenarios for summary in scenario.summaries}
    drivers = sorted({row.driver for run in runs for row in run.rows if row.driver})
    sizes = f"{len(scenarios)} scenarios"
    if len(scenarios) == 1:
        sizes = problems_and_seeds(scenarios[0])
    origin = " and ".join(drivers) or "driver unknown"
    return (
        f"{sizes}, {counted(len(variants), 'variant')}, {counted(outcomes, 'outcome')} ({origin})"
    )


def _default_folder(runs: Sequence[Run]) -> Path:
    """The run's own folder; a new one where there are several."""
    if len(runs) == 1:
        return runs[0].folder
    return Path("runs") / f"report-{time.strftime('%Y%m%d-%H%M%S')}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
