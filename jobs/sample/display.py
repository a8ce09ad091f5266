"""What a person watches while a job runs, on stderr, so that stdout holds results and nothing else.

In a terminal: a line for each running problem, redrawn in place, above a footer with the totals.
Elsewhere: a line every few seconds. In both, one lasting line for each problem that is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deepprune.grading import is_correct
from deepprune.ledger import Fate
from jobs.render.format import clock_time, fewer
from jobs.render.terminal import mark
from jobs.render.text import one_line, shown_answer
from jobs.render.theme import FATE_COLOURS, OTHER_COLOUR, PALETTE, colour

if TYPE_CHECKING:
    from actors.driver.snapshot import Snapshot
    from deepprune.session import Outcome


BASELINE = "cons"
"""The policy that others' tokens are compared with, on problems that both have solved."""
PLAIN_INTERVAL_S = 5.0
REFRESHES_PER_SECOND = 4
MAX_ID_CHARS = 24
VOTES_WIDTH, TOKENS_WIDTH, MIN_BAR_WIDTH = 18, 8, 8
OTHER_LINES = 8
"""Lines of the live view beside those of problems."""


class _Stretch(NamedTuple):
    """A part of the bar of traces: all those in one of `states`."""

    name: str
    states: tuple[str, ...]
    glyph: str
    style: str


STRETCHES = (
    _Stretch("finished", ("finished",), "━", FATE_COLOURS[Fate.FINISHED]),
    _Stretch("finishing", ("finishing",), "━", PALETTE[0]),
    _Stretch("paused", ("paused",), "━", PALETTE[1]),
    _Stretch("to checkpoint", ("prefix",), "━", OTHER_COLOUR),
    _Stretch(
        "cancelled", ("cancelled_after_checkpoint", "cancelled_before_checkpoint"), "╌", "dim"
    ),
    _Stretch("lost", ("lost",), "━", FATE_COLOURS[Fate.LOST]),
)


class Display:
    """Shows a job at work while its `with` block lasts.

    `total` is the number of outcomes to come, `num_traces` how many traces a problem may launch.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        num_traces: int = 1,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._title = title
        self._total = total
        self._clock = clock
        self._started = clock()
        self._solving_since: float | None = None
        self._done_at: float | None = None
        """When the rest is expected to be done, as of the last outcome."""
        self._next_plain_line = self._started
        self._phase = ""
        self._phase_started = self._started
        self._snapshots: Sequence[Snapshot] = ()
        self._most_traces = num_traces
        self._num_done = 0
        self._done_tokens = self._judge_tokens = self._shown_tokens = 0
        self._baselines: dict[str, int] = {}
        self._compared_tokens = self._compared_baseline = 0
        self._spinner = Spinner("dots", style="cyan")
        self._live: Live | None = None
        if self.console.is_interactive and not self.console.no_color:
            self._live = Live(
                get_renderable=self._view,
                console=self.console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
                redirect_stdout=False,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """Say what the job does from now on."""
        self._phase = text
        self._phase_started = self._clock()
        if self._live is None:
            self._say(Text(text))

    def update(self, snapshots: Sequence[Snapshot]) -> None:
        """Show where each running problem stands."""
        now = self._clock()
        if self._solving_since is None:
            self._solving_since = now
        self._snapshots = snapshots
        launched = (sum(snapshot.states.values()) for snapshot in snapshots)
        self._most_traces = max(self._most_traces, *launched, 1)
        if self._live is None and snapshots and now >= self._next_plain_line:
            self._next_plain_line = now + PLAIN_INTERVAL_S
            self._say(self._totals() + _running(snapshots))

    def finished(self, outcome: Outcome) -> None:
        """Add a lasting line: a problem is done."""
        problem_id, ledger = outcome.problem.problem_id, outcome.ledger
        self._num_done += 1
        now = self._clock()
        pace = (now - (self._solving_since or self._started)) / self._num_done
        self._done_at = now + pace * (self._total - self._num_done)
        self._done_tokens += ledger.generated_tokens
        self._judge_tokens += ledger.judge_computed_tokens
        votes = [len(samples) for _, samples in outcome.decision.votes]
        line = Text.assemble(
            mark(is_correct(outcome)) or Text("•"),
            f" {_short_id(problem_id):<14} {outcome.policy:<10} ",
            (f"{shown_answer(outcome.answer, 24):<5}", "bold"),
            (f" {max(votes, default=0):>3} of {sum(votes):>2} votes", "dim"),
            f" {ledger.generated_tokens:>8,} tokens",
            (f" {ledger.wall_s:>6.1f} s", "dim"),
        )
        baseline = self._baselines.get(problem_id)
        if outcome.policy == BASELINE:
            self._baselines[problem_id] = ledger.generated_tokens
        elif baseline is not None:
            self._compared_tokens += ledger.generated_tokens
            self._compared_baseline += baseline
            line.append(f"  {fewer(ledger.generated_tokens, baseline)}", "green")
        if not outcome.complete:
            line.append("  interrupted", "yellow")
        if self._live is None:
            self._say(line)
        else:
            self.console.print(line, soft_wrap=True)

    # --- lines ----------------------------------------------------------------------------------

    def _say(self, line: Text) -> None:
        elapsed = f"[{clock_time(self._clock() - self._started)}] "
        self.console.print(Text(elapsed) + line, soft_wrap=True)

    def _totals(self) -> Text:
        """How far the job is, and what it took so far."""
        running = sum(snapshot.num_tokens for snapshot in self._snapshots)
        # A problem that is done leaves the snapshots a moment before its outcome comes in.
        self._shown_tokens = max(self._shown_tokens, self._done_tokens + running)
        line = Text(f"{self._num_done}/{self._total} done · {self._shown_tokens:,} tokens")
        if self._compared_baseline:
            saved = self._compared_baseline - self._compared_tokens
            share = fewer(self._compared_tokens, self._compared_baseline)
            line.append(f" · {saved:,} saved, {share}", "green")
        judge = self._judge_tokens + sum(snapshot.judge_tokens for snapshot in self._snapshots)
        if judge:
            line.append(f" · judge {judge:,}")
        if self._done_at is not None and self._done_at > self._clock():
            line.append(f" · {clock_time(self._done_at - self._clock())} left")
        return line

    # --- the live view --------------------------------------------------------------------------

    def _view(self) -> RenderableType:
        snapshots, now = self._snapshots, self._clock()
        text = Text.assemble((self._title, "bold"), "  ", self._phase)
        since = self._started if self._solving_since is not None else self._phase_started
        self._spinner.update(text=text.append(f"  {clock_time(now - since)}", "dim"))
        if self._solving_since is None:
            return self._spinner
        parts: list[RenderableType] = [self._spinner, Text()]
        if snapshots:
            parts += [self._problems(snapshots), Text(), _legend(), Text()]
        bar = ProgressBar(max(1, self._total), self._num_done, width=16, complete_style=PALETTE[0])
        footer = Table.grid(padding=(0, 2, 0, 0))
        footer.add_row(bar, self._totals())
        return Group(*parts, footer)

    def _problems(self, snapshots: Sequence[Snapshot]) -> Table:
        shown = snapshots[: max(1, self.console.height - OTHER_LINES)]
        ids = [_short_id(snapshot.problem_id) for snapshot in shown]
        clustered = any(snapshot.clusters for snapshot in shown)
        others = max(7, *map(len, ids)) + VOTES_WIDTH + TOKENS_WIDTH + 2 * (3 + clustered)
        room = self.console.width - others
        bar_width = min(self._most_traces, room * 3 // 5 if clustered else room)
        bar_width = max(MIN_BAR_WIDTH, bar_width)
        blocks_width = max(MIN_BAR_WIDTH, room - bar_width)
        table = Table.grid(padding=(0, 2, 0, 0))
        headings = ("problem", "traces", *(("clusters",) if clustered else ()), "votes", "tokens")
        for heading in headings:
            table.add_column(no_wrap=True, justify="right" if heading == "tokens" else "left")
        table.add_row(*(Text(heading, "dim") for heading in headings))
        for short_id, snapshot in zip(ids, shown, strict=True):
            cells = [Text(short_id), _trace_bar(snapshot.states, self._most_traces, bar_width)]
            if clustered:
                cells.append(_cluster_blocks(snapshot.clusters, blocks_width))
            table.add_row(*cells, _votes(snapshot.votes), Text(f"{snapshot.num_tokens:,}"))
        if len(shown) < len(snapshots):
            table.add_row(Text(f"+ {len(snapshots) - len(shown)} more", "dim"))
        return table


def _trace_bar(states: dict[str, int], most: int, width: int) -> Text:
    """A bar of `width` cells for `most` traces, one stretch after another."""
    bar, seen, end = Text(), 0, 0
    for stretch in STRETCHES:
        seen += sum(states.get(state, 0) for state in stretch.states)
        start, end = end, round(seen * width / most)
        bar.append(stretch.glyph * (end - start), stretch.style)
    return bar.append(" " * (width - end))


def _cluster_blocks(sizes: Sequence[int], width: int) -> Text:
    """A run of blocks for each cluster, in order of opening; one block a trace where they fit."""
    gap = " " if sum(sizes) + len(sizes) <= width else ""
    scale = min(1.0, width / max(1, sum(sizes)))
    blocks = Text()
    for index, size in enumerate(sizes):
        blocks.append("■" * max(1, int(size * scale)) + gap, colour(index))
    blocks.truncate(width, pad=True)
    return blocks


def _votes(votes: Sequence[tuple[str, int]]) -> Text:
    text = Text()
    for index, (answer, count) in enumerate(votes):
        text.append(shown_answer(answer, 10), "bold" if index == 0 else "")
        text.append(f" ×{count}  ", "dim")
    text.truncate(VOTES_WIDTH, overflow="ellipsis", pad=True)
    return text


def _legend() -> Text:
    legend = Text()
    for stretch in STRETCHES[:-1]:
        legend.append(stretch.glyph * 2, stretch.style)
        legend.append(f" {stretch.name}   ", "dim")
    return legend


def _running(snapshots: Sequence[Snapshot]) -> str:
    """The running problems, and their traces by state, in words."""
    counts = [
        (sum(snapshot.states.get(state, 0) for snapshot in snapshots for state in states), name)
        for name, states, _, _ in STRETCHES
    ]
    return f" · {len(snapshots)} running: " + ", ".join(
        f"{count} {name}" for count, name in counts if count
    )


def _short_id(problem_id: str) -> str:
    """A problem's id without its benchmark."""
    return one_line(problem_id.rpartition("/")[2] or problem_id, MAX_ID_CHARS)
