"""What a person watches while a job runs: a live view in a terminal, plain lines elsewhere.

Everything goes to stderr, so that stdout holds results and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from actors.live import Snapshot
    from deepprune.session import Outcome

BAR = 32
PLAIN_INTERVAL_S = 5.0
COLOURS = ("blue", "yellow", "green", "magenta", "cyan", "red")

STATES = (
    ("finished", "█", "green"),
    ("finishing", "▓", "cyan"),
    ("paused", "▒", "blue"),
    ("prefix", "░", "white"),
    ("cancelled_after_checkpoint", "·", "yellow"),
    ("cancelled_before_checkpoint", "·", "yellow"),
    ("lost", "x", "red"),
)
"""A trace's state or fate, the mark it has in the bar, and its colour."""


class Display:
    """Shows phases, running problems and finished ones; a context manager."""

    def __init__(self, title: str, total: int, console: Console | None = None) -> None:
        self._title = title
        self._total = total
        self._console = console or Console(stderr=True)
        self._live = (
            Live(console=self._console, refresh_per_second=8, transient=True)
            if self._console.is_terminal and not self._console.is_dumb_terminal
            else None
        )
        self._started = time.monotonic()
        self._phase = ""
        self._num_done = 0
        self._last_plain = 0.0
        self._spinner = Spinner("dots")

    def __enter__(self) -> Display:
        """Start showing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Clear the live view; what is permanent stays."""
        if self._live:
            self._live.stop()

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        self._phase = text
        if self._live:
            self._live.update(self._view(()))
        else:
            self._plain(text)

    def update(self, snapshots: Sequence[Snapshot]) -> None:
        """Show where the running problems stand."""
        if self._live:
            self._live.update(self._view(snapshots))
        elif snapshots and time.monotonic() - self._last_plain >= PLAIN_INTERVAL_S:
            self._last_plain = time.monotonic()
            counts = {
                state: sum(snapshot.states.get(state, 0) for snapshot in snapshots)
                for state, _, _ in STATES
            }
            running = counts["prefix"] + counts["finishing"]
            cancelled = sum(n for state, n in counts.items() if state.startswith("cancelled"))
            self._plain(
                f"{self._num_done}/{self._total} solved; {len(snapshots)} running: "
                f"{running} traces decoding, {counts['paused']} at their checkpoint, "
                f"{counts['finished']} finished, {cancelled} cancelled"
            )

    def finished(self, outcome: Outcome) -> None:
        """Add a permanent line for a solved problem."""
        self._num_done += 1
        ledger, problem = outcome.ledger, outcome.problem
        verdict = "" if problem.reference is None else f" (reference {problem.reference})"
        self._plain(
            f"{problem.problem_id} {outcome.policy}: {outcome.answer or 'no answer'}{verdict}, "
            f"{ledger.generated_tokens:,} tokens, {ledger.finished_traces} finished, "
            f"{ledger.cancelled_traces} cancelled, {ledger.wall_s:.1f} s"
        )

    def _plain(self, line: str) -> None:
        seconds = time.monotonic() - self._started
        self._console.print(f"[dim]{seconds:6.1f}s[/] {line}", highlight=False, soft_wrap=True)

    def _view(self, snapshots: Sequence[Snapshot]) -> RenderableType:
        seconds = time.monotonic() - self._started
        self._spinner.update(
            text=Text.assemble(
                (f" {self._title} ", "bold"),
                f"{self._num_done}/{self._total}  ",
                (self._phase, "dim"),
                (f"  {seconds:.0f} s", "dim"),
            )
        )
        grid = Table.grid(padding=(0, 2))
        for snapshot in snapshots:
            grid.add_row(
                Text(snapshot.problem_id, style="bold", no_wrap=True),
                _bar(snapshot.states),
                _clusters(snapshot.clusters),
                _votes(snapshot.votes),
                Text(f"{snapshot.num_tokens:,} tokens", style="dim"),
            )
        return Group(self._spinner, grid, _LEGEND) if snapshots else Group(self._spinner)


def _bar(states: dict[str, int]) -> Text:
    """Traces by state, in proportion, every state that has any getting at least one mark."""
    total = sum(states.values())
    bar = Text(no_wrap=True)
    for state, mark, colour in STATES:
        if states.get(state):
            bar.append(mark * max(1, round(BAR * states[state] / total)), colour)
    return bar


def _clusters(sizes: tuple[int, ...]) -> Text:
    text = Text(no_wrap=True)
    for index, size in enumerate(sizes):
        text.append(f"{size}", f"bold {COLOURS[index % len(COLOURS)]}")
        text.append(" ")
    return text


def _votes(votes: tuple[tuple[str, int], ...]) -> Text:
    return Text(" ".join(f"{answer[:12]}×{count}" for answer, count in votes[:3]), no_wrap=True)


_LEGEND = Text.assemble(
    *(
        part
        for state, mark, colour in STATES
        if state in ("finished", "finishing", "paused", "prefix", "cancelled_after_checkpoint")
        for part in ((f"{mark} ", colour), (f"{state.split('_')[0]}  ", "dim"))
    ),
    ("  then: cluster sizes, votes", "dim"),
)
