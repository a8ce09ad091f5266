"""How results look wherever a person sees them: colours, marks, and text from models made safe.

Answers and traces come from a model, so they are shown as plain characters on one line: never as
markup, never as control codes of the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from deepprune.ledger import Fate

PALETTE = (
    "#2b7bba",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#d55e00",
    "#7cc4f0",
    "#8c6bb1",
    "#b5a642",
)
"""Colours of clusters and answers, told apart with any kind of colour vision."""
OTHER_COLOUR = "#999999"
"""Of everything beyond the palette."""
MAX_ANSWER_CHARS = 60

FATE_NAMES = {
    Fate.FINISHED: "finished",
    Fate.CANCELLED_AFTER_CHECKPOINT: "cancelled after the checkpoint",
    Fate.CANCELLED_BEFORE_CHECKPOINT: "cancelled before the checkpoint",
    Fate.LOST: "lost",
}


def colour(index: int) -> str:
    """The colour of the cluster or answer at `index`."""
    return PALETTE[index] if index < len(PALETTE) else OTHER_COLOUR


def one_line(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters, without control codes."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shown_answer(answer: str | None, limit: int = MAX_ANSWER_CHARS) -> str:
    """An answer as it is shown, and a dash where there is none."""
    return "–" if answer is None else one_line(answer, limit)


def mark(correct: bool | None) -> Text:
    """A tick, a cross, or nothing."""
    if correct is None:
        return Text()
    return Text("✓", "green") if correct else Text("✗", "red")


def fewer(tokens: int, baseline: int) -> str:
    """How many per cent less `tokens` are than `baseline`, in words."""
    share = 1 - tokens / max(1, baseline)
    return f"{share:.0%} fewer" if share >= 0 else f"{-share:.0%} more"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 problem`, `1,234 problems`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clock_time(seconds: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def common_part(problem_ids: Sequence[str]) -> str:
    """What all ids begin with, up to a separator."""
    first, last = min(problem_ids), max(problem_ids)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return re.sub(r"[^/_-]*$", "", first[:same])


def excerpt(prefix: str, limit: int) -> str:
    """The end of a prefix: that is where traces have come to differ."""
    words = one_line(prefix, len(prefix))
    return words if len(words) <= limit else f"…{words[1 - limit :].partition(' ')[2]}"


def new_table(title: str | None, name: str, *numbers: str) -> Table:
    """A table with a name and right-aligned columns."""
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
    made.add_column(name, no_wrap=True, vertical="bottom")
    for heading in numbers:
        made.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    return made
