"""Tables and marks as terminals show them."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

WIDEST = 400


def new_table(title: str | None, names: Sequence[str], figures: Sequence[str] = ()) -> Table:
    """An empty table with columns of names, and right-aligned columns of figures."""
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        border_style="dim",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for heading in names:
        made.add_column(heading, no_wrap=True, vertical="bottom")
    for heading in figures:
        made.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    return made


def mark(correct: bool | None) -> Text:
    """A tick, a cross, or nothing."""
    if correct is None:
        return Text()
    return Text("✓", "green") if correct else Text("✗", "red")


def print_uncut(table: Table, console: Console) -> None:
    """Print a table whole: a narrow terminal wraps its lines and cuts no number short."""
    room = console.options.update_width(WIDEST)
    table.width = Measurement.get(console, room, table).maximum
    console.print(table, crop=False)
