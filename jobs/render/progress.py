"""How far a long job is: a bar in a terminal, a line every few seconds elsewhere; on stderr."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from jobs.render.format import clock_time

PLAIN_INTERVAL_S = 5.0


class Progress:
    """Counts `total` steps, of which `done` were done in an earlier run."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._title = title
        self._total = total
        self._earlier = self._done = done
        self._begun = self._last_line = time.monotonic()
        self._started: float | None = None
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_interactive,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._line()

    def step(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        self._bar.update(self._task, description=self._title, advance=count)
        if self._started is None:
            self._started, self._earlier = time.monotonic(), self._done
        quiet = time.monotonic() - self._last_line < PLAIN_INTERVAL_S
        if not self._console.is_interactive and not quiet:
            self._line()

    def phase(self, text: str) -> None:
        """Say what is done before the first step."""
        self._bar.update(self._task, description=text)
        if not self._console.is_interactive:
            self._console.print(f"{self._title}: {text}")

    def note(self, text: str) -> None:
        """Leave a line that stays."""
        self._console.print(text)

    def _line(self) -> None:
        self._last_line = time.monotonic()
        left = ""
        fresh = self._done - self._earlier
        if self._started is not None and fresh and self._done < self._total:
            each = (self._last_line - self._started) / fresh
            left = f", {clock_time(each * (self._total - self._done))} left"
        elapsed = clock_time(self._last_line - self._begun)
        self._console.print(f"{self._title}: {self._done} of {self._total}, {elapsed}{left}")
