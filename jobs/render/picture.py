"""Pictures of a run as PNG: one problem trace by trace, and the tokens of all problems.

The same answer has the same colour on both sides of a picture, and so has the cluster that came to
it. A cluster of which no trace finished has a colour only to be told apart: its answer is unknown.
Text from models is never read as TeX.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from deepprune.grading import num_correct, same_outcome
from deepprune.ledger import Fate
from deepprune.session import Outcome
from deepprune.voting import same_answer
from jobs.render.format import counted, fewer
from jobs.render.text import common_part, one_line, shown_answer
from jobs.render.theme import FATE_NAMES, OTHER_COLOUR, PALETTE, colour

if TYPE_CHECKING:
    from actors.driver.coordinator import Solved

INK, QUIET, FAINT = "#2f3437", "#777d84", "#e3e6e9"
DPI = 140
LANE, MAX_LANES_APART = 0.74, 200
"""Height of a lane, where the next one begins at 1; more lanes than can be told apart touch."""
MIN_LABELLED_LANES = 3
MAX_VOTES_SHOWN = 8
FATE_COLOURS = {
    Fate.FINISHED: "#009e73",
    Fate.CANCELLED_AFTER_CHECKPOINT: "#e69f00",
    Fate.CANCELLED_BEFORE_CHECKPOINT: "#7cc4f0",
    Fate.LOST: "#d55e00",
}
PLAIN: dict[str, Any] = {"color": INK, "parse_math": False}


@dataclass(frozen=True, slots=True)
class _Lane:
    """A trace as it is drawn, among the others of its group: a cluster, or an answer."""

    group: str
    colour: str
    num_tokens: int
    checkpoint: float | None
    finished: bool


def save_pictures(folder: Path, baseline: Sequence[Solved], pruned: Sequence[Solved]) -> None:
    """Save `POLICY-totals.png`, of all problems, and `POLICY-lanes.png`, of one.

    Both are of the same problems in the same order; the one drawn trace by trace saved the median.
    """
    pairs = list(zip(baseline, pruned, strict=True))
    by_share = sorted(pairs, key=lambda pair: _share(pair[0].outcome, pair[1].outcome))
    median = by_share[len(by_share) // 2]
    policy = pruned[0].outcome.policy
    draw_lanes(*median, folder / f"{policy}-lanes.png")
    outcomes = [solved.outcome for solved in baseline], [solved.outcome for solved in pruned]
    draw_totals(*outcomes, folder / f"{policy}-totals.png")


def draw_lanes(baseline: Solved, pruned: Solved, path: Path) -> None:
    """Draw every trace of a problem as a lane along the tokens generated, by both policies."""
    figure = Figure(figsize=(14, 7.6), dpi=DPI)
    grid = figure.subplots(1, 4, width_ratios=(10, 2.4, 10, 2.4))
    figure.subplots_adjust(left=0.06, right=0.985, top=0.84, bottom=0.135, wspace=0.19)
    colours = _answer_colours(baseline.outcome, pruned.outcome)
    num_never = len(baseline.traces.keys() - pruned.traces.keys())
    ends = (*baseline.outcome.ends, *pruned.outcome.ends)
    longest = max((end.num_tokens for end in ends), default=1)
    before = baseline.outcome.ledger.generated_tokens
    for solved, (left, right) in ((baseline, grid[:2]), (pruned, grid[2:])):
        outcome = solved.outcome
        tokens = outcome.ledger.generated_tokens
        title = f"{counted(outcome.ledger.launched_traces, 'trace')}, {tokens:,} tokens"
        title += f": {fewer(tokens, before)}" if solved is pruned else ""
        above = {"transform": left.transAxes, "fontsize": 13, **PLAIN}
        left.text(0, 1.068, outcome.policy, weight="bold", **above)
        left.text(0, 1.02, title, **above)
        _draw_lanes(left, _lanes(solved, colours), num_never if solved is pruned else 0, longest)
        left.set_ylim(max(len(baseline.traces), len(pruned.traces) + num_never), -1)
        _draw_votes(right, outcome, colours)
    problem = baseline.outcome.problem
    heading = one_line(problem.text, 120)
    if problem.reference is not None:
        heading += f"   →   {shown_answer(problem.reference, 30)}"
    figure.text(0.06, 0.95, heading, fontsize=11, **(PLAIN | {"color": QUIET}))
    _lane_legend(figure)
    figure.savefig(path)


def draw_totals(baseline: Sequence[Outcome], pruned: Sequence[Outcome], path: Path) -> None:
    """Draw the tokens of each problem: the baseline's, and before them the policy's by fate.

    Both are of the same problems in the same order.
    """
    num = len(baseline)
    figure = Figure(figsize=(min(32.0, max(9.5, 2.5 + 0.48 * num)), 5), dpi=DPI)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    tokens = [outcome.ledger.generated_tokens for outcome in baseline]
    axes.bar(range(num), tokens, width=0.82, color=FAINT, label=baseline[0].policy)
    floor = [0] * num
    for fate, name in FATE_NAMES.items():
        heights = [getattr(outcome.ledger, f"{fate}_tokens") for outcome in pruned]
        if any(heights):
            label = f"{pruned[0].policy}: {name}" if fate is Fate.FINISHED else name
            axes.bar(range(num), heights, 0.5, floor, color=FATE_COLOURS[fate], label=label)
            floor = [low + height for low, height in zip(floor, heights, strict=True)]
    for x, (before, after) in enumerate(zip(baseline, pruned, strict=True)):
        saved = f"{-_share(before, after):+.0%}".replace("-", "−")
        above: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": QUIET}
        axes.text(x, max(tokens[x], floor[x]) + max(tokens) * 0.008, saved, **above)
    problem_ids = [outcome.problem.problem_id for outcome in baseline]
    common = common_part(problem_ids)
    labels = [one_line(problem_id.removeprefix(common), 12) for problem_id in problem_ids]
    differs = [not same for same in map(same_outcome, baseline, pruned)]
    marked = [f"{label}\n≠" if d else label for label, d in zip(labels, differs, strict=True)]
    axes.set_xticks(range(num), marked, fontsize=9, **PLAIN)
    note = "   ≠ the two answer differently" if any(differs) else ""
    axes.set_xlabel(f"problem{note}", fontsize=10, **(PLAIN | {"color": QUIET}))
    axes.set_ylabel("tokens generated", fontsize=10, color=QUIET)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_xlim(-0.6, num - 0.4)
    axes.set_ylim(0, max(1, *tokens, *floor) * 1.08)
    axes.set_title(_summary_title(baseline, pruned), loc="left", fontsize=12, pad=12, **PLAIN)
    figure.legend(loc="outside lower left", ncols=5, frameon=False, fontsize=9, labelcolor=INK)
    figure.savefig(path)


def _summary_title(baseline: Sequence[Outcome], pruned: Sequence[Outcome]) -> str:
    parts, totals = [], []
    for outcomes in (baseline, pruned):
        totals.append(sum(outcome.ledger.generated_tokens for outcome in outcomes))
        right = "{} of {}".format(*num_correct(outcomes))
        parts.append(f"{outcomes[0].policy}: {totals[-1]:,} tokens, {right} right")
    saved = fewer(totals[1], totals[0])
    return f"{counted(len(baseline), 'problem')}, {saved} tokens\n" + "      ".join(parts)


def _share(baseline: Outcome, pruned: Outcome) -> float:
    """The part of the baseline's tokens that was saved."""
    return 1 - pruned.ledger.generated_tokens / max(1, baseline.ledger.generated_tokens)


# --- lanes and votes -----------------------------------------------------------------------------


def _answer_colours(*outcomes: Outcome) -> dict[str, str]:
    """A colour for each answer voted for: the first outcome's by votes, then what others add."""
    answers: list[str] = []
    for outcome in outcomes:
        for answer, _ in outcome.decision.votes:
            if not any(same_answer(answer, other) for other in answers):
                answers.append(answer)
    return {answer: colour(index) for index, answer in enumerate(answers)}


def _colour_of(answer: str, colours: Mapping[str, str]) -> str:
    return next(shade for other, shade in colours.items() if same_answer(answer, other))


def _groups(outcome: Outcome, colours: Mapping[str, str]) -> Iterator[tuple[str, str, list[int]]]:
    """Name, colour and samples of each cluster, largest first, or of each answer."""
    decision = outcome.decision
    voted = {sample: answer for answer, samples in decision.votes for sample in samples}
    placed: set[int] = set()
    if decision.clusters:
        by_size = sorted(decision.clusters, key=len, reverse=True)
        votes = [Counter(voted[s] for s in cluster if s in voted) for cluster in by_size]
        known = [_colour_of(vote.most_common(1)[0][0], colours) if vote else "" for vote in votes]
        free = iter(shade for shade in PALETTE if shade not in known)
        for number, (cluster, shade) in enumerate(zip(by_size, known, strict=True), start=1):
            yield f"cluster {number}", shade or next(free, OTHER_COLOUR), list(cluster)
            placed.update(cluster)
    else:
        for answer, samples in decision.votes:
            yield shown_answer(answer, 10), _colour_of(answer, colours), list(samples)
        placed.update(voted)
    rest = [end.sample for end in outcome.ends if end.sample not in placed]
    yield "not clustered" if decision.clusters else "no answer", OTHER_COLOUR, rest


def _lanes(solved: Solved, colours: Mapping[str, str]) -> list[_Lane]:
    """All launched traces: group by group, those that finished first, longest first."""
    ends = {end.sample: end for end in solved.outcome.ends}
    lanes = []
    for name, shade, samples in _groups(solved.outcome, colours):
        group = []
        for end in map(ends.__getitem__, samples):
            trace, finished = solved.traces[end.sample], end.fate is Fate.FINISHED
            checkpoint = None
            if trace.prefix_chars is not None and trace.text:
                # Where the checkpoint's token falls is not recorded; its character is.
                checkpoint = end.num_tokens * trace.prefix_chars / len(trace.text)
            group.append(_Lane(name, shade, end.num_tokens, checkpoint, finished))
        lanes += sorted(group, key=lambda lane: (not lane.finished, -lane.num_tokens))
    return lanes


def _draw_lanes(axes: Any, lanes: Sequence[_Lane], num_never: int, longest: int) -> None:
    end = len(lanes)
    height = LANE if end + num_never <= MAX_LANES_APART else 1.0
    shades = [lane.colour if lane.finished else _lighter(lane.colour) for lane in lanes]
    axes.barh(range(end), [lane.num_tokens for lane in lanes], height, color=shades)
    axes.barh(range(end, end + num_never), longest, height - 0.6, color=FAINT)
    passed = [(y, lane.checkpoint) for y, lane in enumerate(lanes) if lane.checkpoint is not None]
    at = np.array([y for y, _ in passed], float)
    axes.vlines([x for _, x in passed], at - height / 2, at + height / 2, "white", linewidth=1.2)
    cut = [(lane.num_tokens, y) for y, lane in enumerate(lanes) if not lane.finished]
    crosses = {"color": INK, "markersize": min(3.2, 300 / max(1, end)), "clip_on": False}
    axes.plot([x for x, _ in cut], [y for _, y in cut], "x", **crosses)
    for name, members in groupby(enumerate(lanes), key=lambda item: item[1].group):
        ys = [y for y, _ in members]
        if len(ys) >= MIN_LABELLED_LANES:
            _label_group(axes, name, ys)
    if num_never >= MIN_LABELLED_LANES:
        _label_group(axes, "never\nlaunched", range(end, end + num_never))
    axes.set_xlim(0, longest * 1.01)
    axes.set_yticks([])
    axes.tick_params(length=0, labelcolor=QUIET)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("tokens generated", fontsize=10, color=QUIET)


def _label_group(axes: Any, name: str, ys: Sequence[int]) -> None:
    middle, across = (ys[0] + ys[-1]) / 2, axes.get_yaxis_transform()
    style = {"ha": "right", "va": "center", "fontsize": 9, "transform": across, **PLAIN}
    axes.text(-0.012, middle, name, **style)


def _draw_votes(axes: Any, outcome: Outcome, colours: Mapping[str, str]) -> None:
    votes = [(answer, len(samples)) for answer, samples in outcome.decision.votes]
    most = max((count for _, count in votes), default=1)
    axes.set_axis_off()
    axes.set_xlim(0, most * 1.3)
    axes.set_ylim(MAX_VOTES_SHOWN * 2.4, -1)
    axes.text(0, -0.35, "votes", fontsize=10, **(PLAIN | {"color": QUIET}))
    for row, (answer, count) in enumerate(votes[:MAX_VOTES_SHOWN]):
        y, weight = 2 * row + 1.2, "bold" if row == 0 else "normal"
        axes.barh(y, count, 0.62, color=_colour_of(answer, colours))
        axes.text(0, y - 0.5, shown_answer(answer, 18), fontsize=10.5, weight=weight, **PLAIN)
        beside = {"va": "center", "fontsize": 9.5, **(PLAIN | {"color": QUIET})}
        axes.text(count + most * 0.05, y, f"{count}", **beside)
    if len(votes) > MAX_VOTES_SHOWN:
        more = f"{len(votes) - MAX_VOTES_SHOWN} more"
        axes.text(0, 2 * MAX_VOTES_SHOWN + 1.2, more, fontsize=9, **(PLAIN | {"color": QUIET}))


def _lane_legend(figure: Figure) -> None:
    grey = OTHER_COLOUR
    cut = Line2D([], [], color=_lighter(grey), linewidth=7, marker="x", markeredgecolor=INK)
    handles = [
        Patch(color=grey, label="finished: it votes"),
        cut,
        Line2D([], [], color=FAINT, linewidth=2, label="never launched"),
        Line2D([], [], color=grey, linewidth=7, marker="|", markeredgecolor="white"),
    ]
    cut.set(label="cancelled", markersize=5)
    handles[-1].set(label="checkpoint", markersize=9, markeredgewidth=2)
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.022), "ncols": len(handles)}
    figure.legend(handles=handles, frameon=False, labelcolor=INK, **place)
    note = (
        "The answer of a cluster that nobody finished is unknown; its colour only tells it apart."
    )
    figure.text(0.5, 0.014, note, fontsize=9, color=QUIET, ha="center")


def _lighter(shade: str) -> tuple[float, ...]:
    return tuple(0.45 * part + 0.55 for part in to_rgb(shade))
