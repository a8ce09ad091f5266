"""The report's sentences and tables as Markdown, for papers and pull requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobs.render.text import visible
from jobs.render.theme import one_line
from jobs.report.tables import Cell, Table
from jobs.report.verdict import Glance, rule

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#$~])")


def document(title: str, glances: Sequence[Glance], tables: Sequence[Table]) -> str:
    """All of it."""
    parts = [f"# {text(title)}", "## At a glance"]
    for glance in glances:
        facts = "".join(f"\n- {text(fact)}" for fact in glance.facts)
        parts.append(
            f"**{text(glance.setting.name)}.** {text(glance.headline)}{facts and chr(10)}{facts}"
        )
    parts.append(text(rule()))
    parts += [table(data) for data in tables]
    return "\n\n".join(parts) + "\n"


def table(data: Table) -> str:
    """A table with its notes; what stands above several headings is repeated in each."""
    above = [name for name, span in data.groups for _ in range(span)] or [""] * len(data.headings)
    headings = [
        " / ".join(text(part) for part in (group, heading) if part)
        for group, heading in zip(above, data.headings, strict=True)
    ]
    rules = [":--" if place < data.num_names else "--:" for place in range(len(headings))]
    lines = [f"## {text(data.title)}", "", _line(headings), _line(rules)]
    lines += [_line([_cell(cell) for cell in row]) for row in data.rows]
    for note in data.notes:
        lines += ["", text(note)]
    return "\n".join(lines)


def text(value: str) -> str:
    """Text that Markdown takes for nothing but text."""
    return _SPECIAL.sub(r"\\\1", one_line(visible(value), 4000))


def _cell(cell: Cell) -> str:
    shown = text(cell.text)
    if shown and cell.kind == "limit":
        shown = f"*{shown}*"
    return f"{shown} [{text(cell.below)}]" if cell.below else shown


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
