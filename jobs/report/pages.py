"""The page of each problem, as data: clusters, their traces as lanes, and the traces' texts.

Each page is compressed on its own and unpacked by the browser when it is opened. What a page holds
is compact: `PageWriter` says what keys and positions mean.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.render.text import limit_for, one_line, shortened, visible
from jobs.report.load import Row, Run
from jobs.report.page_data import PageWriter, short, votes_of
from jobs.report.scenario import Scenario, Summary
from jobs.report.trace_texts import TraceTexts

MAX_PROBLEM_CHARS, MAX_ID_CHARS = 20_000, 80
PACKING = 2.5
"""Characters of text that become one embedded byte, to begin with."""


@dataclass(frozen=True)
class Page:
    """A problem's page: what its closed line shows, and the packed rest."""

    problem_id: str
    rows: Mapping[str, Row]
    """By variant's label: the outcome that is shown."""
    data: Mapping[str, Any]
    texts: Sequence[str]
    packed: str = ""
    """Data and texts, compressed, the texts cut to what the report may hold."""

    @property
    def excerpt(self) -> str:
        """The beginning of the problem."""
        return one_line(self.data["problem"], 140)

    def pack(self, limit: int) -> str:
        """Compress data and texts, each text cut to `limit` characters."""
        texts = [shortened(text, limit) for text in self.texts]
        data = json.dumps({**self.data, "texts": texts}, ensure_ascii=False, separators=(",", ":"))
        return base64.b64encode(gzip.compress(data.encode(), 6, mtime=0)).decode()

    def short_id(self, common: str) -> str:
        """The id on one line, without the part that all problems of a scenario share."""
        return one_line(self.problem_id.removeprefix(common) or self.problem_id, MAX_ID_CHARS)

    def chosen(self, labels: Sequence[str]) -> list[tuple[str, Row]]:
        """The outcomes of some variants, where there are any."""
        return [(label, self.rows[label]) for label in labels if label in self.rows]

    def kinds(self, labels: Sequence[str]) -> str:
        """The filters of the page that let the problem pass, besides `all`."""
        rows = [row for _, row in self.chosen(labels)]
        wrong = ["wrong"] if any(row.correct is False for row in rows) else []
        return " ".join(wrong + ["differs"] * (len({row.answer for row in rows}) > 1))


@dataclass(frozen=True)
class Pages:
    """The pages of a scenario; `note` says what was left out of their texts."""

    pages: tuple[Page, ...]
    note: str


def build_pages(
    scenarios: Sequence[Scenario], runs: Sequence[Run], trace_texts: TraceTexts, max_bytes: int
) -> list[Pages]:
    """The pages of all scenarios, which together embed about `max_bytes` at most."""
    pages = [
        [_page(scenario, problem, runs, trace_texts) for problem in scenario.problems]
        for scenario in scenarios
    ]
    every = [page for of in pages for page in of]
    lengths = [len(text) for page in every for text in page.texts]
    bare = sum(len(page.pack(0)) for page in every)
    limit, packing, packed = 0, PACKING, list[list[str]]()
    for _ in range(4):
        limit = limit_for(lengths, int(max(0, max_bytes - bare) * packing))
        packed = [[page.pack(limit) for page in of] for of in pages]
        size = sum(len(text) for of in packed for text in of)
        if size <= max_bytes or limit == 0:
            break
        packing *= 0.9 * max(1, max_bytes - bare) / max(1, size - bare)
    return [
        Pages(
            tuple(replace(page, packed=text) for page, text in zip(of, texts, strict=True)),
            _note(of, limit, trace_texts),
        )
        for of, texts in zip(pages, packed, strict=True)
    ]


def _note(pages: Sequence[Page], limit: int, trace_texts: TraceTexts) -> str:
    texts = [text for page in pages for text in page.texts]
    if not texts:
        return " ".join(["No texts of traces are at hand.", *trace_texts.notes])
    cut = [len(text) - limit for text in texts if len(text) > limit]
    if not cut:
        return f"All {len(texts):,} texts are embedded whole."
    return (
        f"{len(cut):,} of {len(texts):,} texts are longer than {limit:,} characters; "
        f"{sum(cut):,} characters are left out of their middles to keep the file small "
        "(--max-text MB embeds more)."
    )


def _page(scenario: Scenario, problem: str, runs: Sequence[Run], trace_texts: TraceTexts) -> Page:
    shown = dict(_shown(scenario, problem))
    details = {label: runs[row.run].detail(row) for label, row in shown.items()}
    writer = PageWriter(
        votes_of(d for label, d in details.items() if shown[label].driver == "replay")
    )
    variants = [
        writer.variant(label, row, details[label], trace_texts.texts(row))
        for label, row in shown.items()
    ]
    text = visible(trace_texts.problems.get(problem, ""))
    reference = next((row.reference for row in shown.values() if row.reference is not None), None)
    data = {
        "id": problem,
        "problem": text[:MAX_PROBLEM_CHARS] + ("…" if len(text) > MAX_PROBLEM_CHARS else ""),
        "reference": short(reference),
        "variants": variants,
        "answers": writer.answers,
        "reasons": writer.reasons,
    }
    return Page(problem, shown, data, writer.texts)


def _shown(scenario: Scenario, problem: str) -> Iterator[tuple[str, Row]]:
    """An outcome for each variant that has one: of the same seed where that is possible."""
    plain = scenario.baseline()
    counts: dict[int | None, int] = defaultdict(int)
    for summary in scenario.summaries:
        for found, seed in summary.rows:
            if found == problem:
                counts[seed] += 2 if summary is plain else 1
    order = sorted(counts, key=lambda s: (-counts[s], s is None, s or 0))
    for summary in scenario.summaries:
        row = _first(summary, problem, order)
        if row is not None:
            yield summary.label, row


def _first(summary: Summary, problem: str, seeds: Sequence[int | None]) -> Row | None:
    return next((summary.rows[problem, s] for s in seeds if (problem, s) in summary.rows), None)
