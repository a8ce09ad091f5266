"""A run to look at: every trace a lane, as long as its tokens, cut where it was cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepprune.ledger import Fate
from jobs.tables import DemoRow

if TYPE_CHECKING:
    from actors.coordinator import Solved

# Okabe and Ito's palette, which colour-blind readers can tell apart; grey for whatever is left.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
REST = "#999999"
CUT = "#D55E00"


def draw_lanes(baseline: Solved, pruned: Solved, path: Path) -> None:
    """One problem under both policies, side by side, as a PNG.

    Left, traces are coloured by the answer they gave; right, by the cluster they were put in.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _lanes(left, baseline, _groups([s for _, s in baseline.outcome.decision.votes]), len_of=None)
    _lanes(
        right, pruned, _groups(pruned.outcome.decision.clusters), len_of=len(baseline.outcome.ends)
    )
    before = baseline.outcome.ledger.generated_tokens
    after = pruned.outcome.ledger.generated_tokens
    left.set_title(_title(baseline), loc="left", fontsize=11)
    right.set_title(f"{_title(pruned)}, {1 - after / before:.0%} fewer", loc="left", fontsize=11)
    left.set_ylabel("traces")
    longest = max(end.num_tokens for end in (*baseline.outcome.ends, *pruned.outcome.ends))
    for axes in (left, right):
        axes.set_xlabel("tokens generated")
    left.set_xlim(0, 1.35 * longest)  # room for the legend
    left.invert_yaxis()
    left.legend(handles=_legend("answer", [a for a, _ in baseline.outcome.decision.votes]), **_BOX)
    names = [f"{len(cluster)} traces" for cluster in _by_size(pruned.outcome.decision.clusters)]
    right.legend(handles=[*_legend("cluster of", names), *_marks()], **_BOX)
    figure.suptitle(pruned.outcome.problem.text, fontsize=12, x=0.01, ha="left")
    figure.savefig(path, dpi=130)


def draw_totals(rows: Sequence[DemoRow], path: Path) -> None:
    """Tokens of each problem under both policies, by fate, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.4
    fates = (
        (Fate.FINISHED, COLOURS[0], "finished"),
        (Fate.CANCELLED_AFTER_CHECKPOINT, COLOURS[1], "cancelled at or after the checkpoint"),
        (Fate.CANCELLED_BEFORE_CHECKPOINT, REST, "cancelled before the checkpoint"),
    )
    positions = range(len(rows))
    axes.bar(
        [x - width / 2 for x in positions],
        [row.baseline.ledger.generated_tokens for row in rows],
        width,
        color="#CCCCCC",
        label=rows[0].baseline.policy,
    )
    bottom = [0] * len(rows)
    for fate, colour, label in fates:
        tokens = [getattr(row.pruned.ledger, f"{fate.value}_tokens") for row in rows]
        axes.bar(
            [x + width / 2 for x in positions],
            tokens,
            width,
            bottom,
            color=colour,
            label=f"{rows[0].pruned.policy}: {label}",
        )
        bottom = [below + count for below, count in zip(bottom, tokens, strict=True)]
    axes.set_xticks(
        list(positions), [r.baseline.problem.problem_id.rpartition("-")[2] for r in rows]
    )
    axes.set_xlabel("problem")
    axes.set_ylabel("tokens generated")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=2, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path, dpi=130)


_BOX: dict[str, Any] = {"loc": "lower right", "fontsize": 8, "framealpha": 0.95}


def _by_size(clusters: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    return sorted(clusters, key=len, reverse=True)


def _groups(clusters: Sequence[Sequence[int]]) -> dict[int, int]:
    """For each sample the rank of its group, the largest first."""
    return {sample: rank for rank, cluster in enumerate(_by_size(clusters)) for sample in cluster}


def _lanes(axes: Any, solved: Solved, groups: dict[int, int], len_of: int | None) -> None:
    """Draw the lanes, those of one group together, never-launched ones as empty space."""
    ends = sorted(
        solved.outcome.ends,
        key=lambda end: (groups.get(end.sample, len(groups)), -end.num_tokens),
    )
    for lane, end in enumerate(ends):
        rank = groups.get(end.sample, len(COLOURS))
        colour = COLOURS[rank] if rank < len(COLOURS) else REST
        finished = end.fate is Fate.FINISHED
        axes.barh(lane, end.num_tokens, height=0.8, color=colour, alpha=1 if finished else 0.55)
        if not finished:
            axes.plot(end.num_tokens, lane, "|", color=CUT, markersize=4.5, markeredgewidth=1.6)
    missing = 0 if len_of is None else len_of - len(ends)
    if missing > 2:
        middle = len(ends) + missing / 2 - 0.5
        axes.text(4, middle, f"{missing} traces never launched", va="center", color="#777777")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.01)


def _title(solved: Solved) -> str:
    outcome = solved.outcome
    return f"{outcome.policy}: answer {outcome.answer}, {outcome.ledger.generated_tokens:,} tokens"


def _legend(kind: str, names: Sequence[str]) -> list[Any]:
    from matplotlib.patches import Patch

    shown = [
        Patch(color=colour, label=f"{kind} {name}")
        for colour, name in zip(COLOURS, names, strict=False)
    ]
    if len(names) > len(COLOURS):
        shown.append(Patch(color=REST, label=f"{len(names) - len(COLOURS)} smaller"))
    return shown


def _marks() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(color=REST, alpha=0.55, label="not clustered any more"),
        Line2D([], [], marker="|", linestyle="", color=CUT, label="cancelled here"),
    ]
