"""Tables as data, written as Markdown, as HTML and in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jobs.render.format import DASH, amount, interval
from jobs.render.text import markdown_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from deepprune.statistics import Estimate

Kind = Literal["", "published", "limit", "best"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, and its interval or a remark `below` it."""

    text: str
    below: str = ""
    kind: Kind = ""


NOTHING = Cell(DASH)


def estimated(
    estimate: Estimate | None, show: Callable[[float], str], *, alone: bool = False
) -> Cell:
    """A figure with its interval, unless it stands `alone`; a dash where there is none."""
    if estimate is None:
        return NOTHING
    nothing_counted = show is amount and estimate.low == estimate.high == 0
    below = "" if alone or nothing_counted else interval(estimate, show)
    return Cell(show(estimate.value), below)


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
    text_columns: tuple[str, ...] = ()
    """Headings of columns that hold sentences, not figures."""

    def markdown(self) -> str:
        """The table with its notes; the name of a group is repeated in each of its headings."""
        above = [name for name, span in self.groups for _ in range(span)]
        above = above or [""] * len(self.headings)
        headings = [
            " / ".join(markdown_text(part) for part in (group, heading) if part)
            for group, heading in zip(above, self.headings, strict=True)
        ]
        rules = [":--" if place < self.num_names else "--:" for place in range(len(headings))]
        lines = [f"## {markdown_text(self.title)}", "", _line(headings), _line(rules)]
        lines += [_line([_markdown_cell(cell) for cell in row]) for row in self.rows]
        for note in self.notes:
            lines += ["", markdown_text(note)]
        return "\n".join(lines)

    def __html__(self) -> str:
        """The table as a template shows it."""
        from jobs.render.html import render

        return render("jobs.render", "table.html", table=self)

    def __rich__(self) -> RichTable:
        """The table as a console prints it, without its notes and groups."""
        from rich.text import Text

        from jobs.render.terminal import new_table

        names, figures = self.headings[: self.num_names], self.headings[self.num_names :]
        made = new_table(self.title or None, names, figures)
        for row in self.rows:
            style = "green" if any(cell.kind == "best" for cell in row) else None
            cells = [
                Text(f"{cell.text} [{cell.below}]" if cell.below else cell.text) for cell in row
            ]
            for cell in cells:
                cell.highlight_regex("✓$", "green")
                cell.highlight_regex("✗$", "red")
            made.add_row(*cells, style=style)
        return made

    def column_class(self, place: int) -> str:
        """The CSS class of a column."""
        if self.headings[place] in self.text_columns:
            return "text"
        return "name" if place < self.num_names else ""


def _markdown_cell(cell: Cell) -> str:
    shown = markdown_text(cell.text)
    if shown and cell.kind == "limit":
        shown = f"*{shown}*"
    return f"{shown} [{markdown_text(cell.below)}]" if cell.below else shown


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
