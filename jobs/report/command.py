"""Puts a report together and writes it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deepprune.errors import UserError
from jobs.render import markdown
from jobs.render.theme import counted, one_line
from jobs.report import html
from jobs.report.load import Run, load_runs
from jobs.report.pages import build_pages
from jobs.report.summary import Setting, summarise
from jobs.report.tables import (
    Table,
    figures,
    judge_bill,
    paper_form,
    problems_and_seeds,
    what_entries_are,
)
from jobs.report.thresholds import similarity_table, threshold_table
from jobs.report.trace_texts import TraceTexts, count_pairs
from jobs.report.verdict import Glance, glance, overall, rule

if TYPE_CHECKING:
    from jobs.report.html import Plot

FILE = "report.html"
_Section = tuple[str, str, str]
"""Anchor, name and HTML."""
METHOD = (
    "Intervals are 95% percentile bootstrap intervals over problems (2,000 resamplings, seeds "
    "averaged within a problem; differences and ratios to cons are resampled in pairs). They say "
    "how far the problems that happen to be in the benchmark matter; where all outcomes were alike "
    "an interval has no width, which does not make the figure exact."
)


def write_report(
    folders: Sequence[Path], out: Path | None, markdown_file: Path | None, max_text_mb: float
) -> int:
    """Write `report.html` and the PNGs into `out`, and the tables into `markdown_file`.

    Raises:
        UserError: a folder is no run's, or something cannot be written.
    """
    console = Console(stderr=True)
    with console.status("reading the runs") as status:
        runs = load_runs(folders)
        folder = out or _default_folder(runs)
        _make(folder)
        status.update("working out the figures")
        settings = summarise(runs)
        glances = [glance(setting) for setting in settings]
        status.update("reading the traces")
        shelf = TraceTexts(runs)
        tables = _Tables(settings, runs, shelf)
        status.update("drawing")
        plots = _plots(settings, runs, folder)
        status.update("packing the traces")
        built = build_pages(settings, runs, shelf, round(max_text_mb * 1e6))
        problems = "".join(
            html.problems(setting, answer, pages, number)
            for number, (setting, answer, pages) in enumerate(
                zip(settings, glances, built, strict=True)
            )
        )
        title = _title(settings)
        comparison = ("comparison", "Comparison", html.table(tables.paper))
        sections = [
            ("glance", "At a glance", _glances(glances, shelf)),
            *_in_order(settings, comparison, _setting_sections(settings, tables, plots)),
            *([("agreement", "Agreement", html.table(tables.pairs))] if tables.pairs else []),
            ("problems", "Problems", problems),
            ("method", "Method", f"<p>{html.text(METHOD)}</p>" + html.table(tables.entries)),
        ]
        document = html.page(title, _subject(settings, runs), sections, _footer(runs))
        _write(folder / FILE, document)
        if markdown_file is not None:
            _make(markdown_file.parent)
            _write(markdown_file, markdown.document(title, glances, tables.all()))
    for answer in glances:
        where = f"{answer.setting.name}: " if len(glances) > 1 else ""
        sys.stdout.write(f"{one_line(where + answer.headline, 2000)}\n")
    sys.stderr.write(f"report in {folder / FILE}\n")
    return 0


class _Tables:
    """All tables of a report."""

    def __init__(self, settings: Sequence[Setting], runs: Sequence[Run], shelf: TraceTexts) -> None:
        self.paper = paper_form(settings)
        self.figures = [figures(setting) for setting in settings]
        self.judges = [judge_bill(setting) for setting in settings]
        self.thresholds = [threshold_table(setting, runs, shelf) for setting in settings]
        self.pairs = similarity_table(count_pairs(runs, shelf))
        self.entries = what_entries_are(settings)

    def all(self) -> list[Table]:
        """In the order of the document."""
        by_setting = zip(self.figures, self.judges, self.thresholds, strict=True)
        found = [self.paper, *(table for of in by_setting for table in of), self.pairs]
        return [table for table in (*found, self.entries) if table is not None]


def _in_order(
    settings: Sequence[Setting], comparison: _Section, single: Sequence[_Section]
) -> list[_Section]:
    """The table across settings comes first where there are several."""
    return [comparison, *single] if len(settings) > 1 else [*single, comparison]


def _glances(glances: Sequence[Glance], shelf: TraceTexts) -> str:
    lead = overall(glances)
    notes = [rule(), *shelf.notes]
    return (
        (f"<p>{html.text(lead)}</p>" if lead else "")
        + "".join(html.glance_card(glance) for glance in glances)
        + "".join(f'<p class="quiet">{html.text(note)}</p>' for note in notes)
    )


def _setting_sections(
    settings: Sequence[Setting], tables: _Tables, plots: Sequence[Sequence[Plot]]
) -> list[_Section]:
    sections = []
    for number, setting in enumerate(settings):
        drawn = [html.plot(plot) for plot in plots[number]]
        parts = [*drawn[:1], html.table(tables.figures[number]), *drawn[1:]]
        for table in (tables.judges[number], tables.thresholds[number]):
            if table is not None:
                parts.append(html.table(table))
        name = setting.name if len(settings) > 1 else "Figures"
        sections.append((f"setting-{number}", one_line(name, 80), "".join(parts)))
    return sections


def _plots(settings: Sequence[Setting], runs: Sequence[Run], folder: Path) -> list[list[Plot]]:
    from jobs.report.gallery import draw

    drawn = []
    for number, setting in enumerate(settings):
        name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{setting.model}-{setting.benchmark}").strip("-.")
        suffix = "" if len(settings) == 1 else f"-{number + 1}-{name[:60]}"
        drawn.append(draw(setting, runs, folder, suffix))
    return drawn


def _title(settings: Sequence[Setting]) -> str:
    if len(settings) == 1:
        return one_line(settings[0].name, 160)
    models = {setting.model for setting in settings}
    benchmarks = {setting.benchmark for setting in settings}
    return f"{counted(len(models), 'model')}, {counted(len(benchmarks), 'benchmark')}"


def _subject(settings: Sequence[Setting], runs: Sequence[Run]) -> str:
    outcomes = sum(len(run.rows) for run in runs)
    entries = {summary.label for setting in settings for summary in setting.summaries}
    drivers = sorted({row.driver for run in runs for row in run.rows if row.driver})
    sizes = problems_and_seeds(settings[0]) if len(settings) == 1 else f"{len(settings)} settings"
    number = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    origin = " and ".join(drivers) or "driver unknown"
    return f"{sizes}, {number}, {counted(outcomes, 'outcome')} ({origin})"


def _footer(runs: Sequence[Run]) -> str:
    from importlib.metadata import version

    names = ", ".join(one_line(run.name, 80) for run in runs)
    return f"deepprune {version('deepprune')}. {'Run' if len(runs) == 1 else 'Runs'}: {names}."


def _default_folder(runs: Sequence[Run]) -> Path:
    """A report on one run belongs into its folder."""
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
