"""Accuracy against tokens: which policy to take, and how good a judge has to be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from deepprune.statistics import Estimate
from jobs.render.figures import PLAIN, legend_below, new_figure, readable_on
from jobs.render.format import percent, points, tick
from jobs.render.text import one_line
from jobs.render.theme import FAINT, PAPER, QUIET, policy_colour
from jobs.report.scenario import Scenario, Summary
from jobs.report.smaller_votes import SmallerVote

MAX_LABEL = 40


@dataclass(frozen=True, slots=True)
class Point:
    """A variant in the plane: tokens per problem and accuracy."""

    label: str
    tokens: float
    accuracy: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none is at least as good on both axes and better on one."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.tokens, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def draw_pareto(scenario: Scenario) -> Figure | None:
    """Accuracy over tokens per problem; hollow marks had a judge that knew the answers."""
    shown = [s for s in scenario.compared if s.accuracy and s.tokens and s.tokens.value > 0]
    if len(shown) < 2:
        return None
    figure, axes = new_figure(9, 5.6)
    for number, s in enumerate(sorted(shown, key=lambda s: _point(s).tokens), start=1):
        _draw_variant(axes, s, number)
    axes.set_xscale("log")
    axes.margins(0.1, 0.12)
    _draw_smaller_votes(axes, scenario.smaller.curve if scenario.smaller else ())
    axes.autoscale_view()
    axes.set_autoscale_on(False)
    line = front([_point(s) for s in shown if not s.variant.is_limit])
    if line:
        xs = [p.tokens for p in line] + [axes.get_xlim()[1]]
        ys = [p.accuracy for p in line] + [line[-1].accuracy]
        axes.step(xs, ys, where="post", color=QUIET, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_xlabel("tokens generated per problem (log scale)")
    axes.set_ylabel("accuracy")
    axes.set_title(scenario.name, loc="left", fontsize=11, pad=10, **PLAIN)
    legend_below(figure, axes)
    return figure


def draw_judge_curve(scenario: Scenario) -> Figure | None:
    """Tokens against the judge's AUROC, where judges were made noisy on purpose."""
    lines: dict[tuple[Any, ...], list[Summary]] = defaultdict(list)
    for s in scenario.summaries:
        if s.variant.judge_auroc is not None and s.token_share:
            kind = "deepprune" if s.variant.policy == "oracle" else s.variant.policy
            e = s.variant
            lines[kind, e.num_traces, e.checkpoint, e.tau, e.settings].append(s)
    lines = defaultdict(
        list, {k: v for k, v in lines.items() if len({s.variant.judge_auroc for s in v}) > 1}
    )
    if not any((s.variant.judge or "").startswith("noisy:") for v in lines.values() for s in v):
        return None
    figure, (left, right) = new_figure(9, 4.6, ncols=2, sharex=True)
    figure.suptitle(scenario.name, x=0.01, ha="left", fontsize=11, **PLAIN)
    for (policy, *_), members in lines.items():
        members.sort(key=lambda s: s.variant.judge_auroc or 0)
        xs = [s.variant.judge_auroc or 0.0 for s in members]
        shares = [s.token_share for s in members if s.token_share]
        _band(left, xs, shares, policy)
        changes = [s.accuracy_change for s in members]
        known = [(x, e) for x, e in zip(xs, changes, strict=True) if e is not None]
        _band(right, [x for x, _ in known], [e for _, e in known], policy)
    _rules(left, scenario)
    left.set_ylim(0, None)
    left.yaxis.set_major_formatter(FuncFormatter(lambda y, _: percent(y, 0)))
    right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: points(y).replace(".0", "")))
    right.axhline(0, color=QUIET, linewidth=0.9)
    left.set_title("tokens, share of cons", loc="left", fontsize=10.5, **PLAIN)
    right.set_title("accuracy against cons, points", loc="left", fontsize=10.5, **PLAIN)
    aurocs = sorted({s.variant.judge_auroc or 0.0 for of in lines.values() for s in of})
    for axes in (left, right):
        axes.set_xticks(aurocs, [f"{auroc:g}" for auroc in aurocs])
        axes.grid(color=FAINT, linewidth=0.8)
        axes.set_xlabel("AUROC of the judge")
    legend_below(figure, left)
    return figure


def _band(axes: Any, xs: Sequence[float], estimates: Sequence[Estimate], policy: str) -> None:
    shade = policy_colour(policy)
    low, high = [e.low for e in estimates], [e.high for e in estimates]
    axes.fill_between(xs, low, high, color=shade, alpha=0.13, linewidth=0)
    style = {"color": shade, "marker": "o", "markersize": 4.5, "linewidth": 1.8}
    axes.plot(xs, [e.value for e in estimates], label=policy, **style)


def _rules(axes: Any, scenario: Scenario) -> None:
    """Draw the tokens of policies without a judge as level lines."""
    best: dict[str, float] = {}
    for s in scenario.summaries:
        if s.variant.judge is None and s.token_share and s.variant.policy != "oracle":
            share = s.token_share.value
            best[s.variant.policy] = min(best.get(s.variant.policy, share), share)
    for policy, share in best.items():
        style = {"color": policy_colour(policy), "linewidth": 1.3, "linestyle": (0, (4, 2))}
        axes.axhline(share, label=f"{policy} (no judge)", **style)


def _point(s: Summary) -> Point:
    assert s.tokens and s.accuracy
    return Point(s.label, s.tokens.value, s.accuracy.value)


def _intervals(s: Summary) -> tuple[Estimate, Estimate]:
    """Tokens and accuracy with intervals of the difference to cons, if there is a cons."""
    assert s.tokens and s.accuracy
    if s.variant.is_baseline:
        t, a = s.tokens.value, s.accuracy.value
        return Estimate(t, t, t), Estimate(a, a, a)
    share, change = s.token_share, s.accuracy_change
    if share is None or change is None:
        return s.tokens, s.accuracy
    plain = s.accuracy.value - change.value
    return (
        share.scaled(s.tokens.value / share.value) if share.value > 0 else s.tokens,
        Estimate(s.accuracy.value, plain + change.low, plain + change.high),
    )


def _draw_variant(axes: Any, s: Summary, number: int) -> None:
    """The mark of a variant, with its number in it; the legend says which variant that is."""
    shade, p = policy_colour(s.variant.policy), _point(s)
    bar = {"color": shade, "alpha": 0.4, "linewidth": 1.4, "solid_capstyle": "butt", "zorder": 2}
    tokens, accuracy = _intervals(s)
    axes.plot([tokens.low, tokens.high], [p.accuracy] * 2, **bar)
    axes.plot([p.tokens] * 2, [max(0.0, accuracy.low), min(1.0, accuracy.high)], **bar)
    face = PAPER if s.variant.is_limit else shade
    style = {"markerfacecolor": face, "markeredgecolor": shade, "markeredgewidth": 1.6}
    dark = {"color": readable_on(face), "parse_math": False}
    label = f"{number}  {one_line(s.label, MAX_LABEL)}"
    axes.plot(p.tokens, p.accuracy, "o", markersize=12, zorder=4 + number, label=label, **style)
    middle = {"ha": "center", "va": "center_baseline", "fontsize": 8, "zorder": 4 + number}
    axes.text(p.tokens, p.accuracy, str(number), **middle, **dark)


def _draw_smaller_votes(axes: Any, votes: Sequence[SmallerVote]) -> None:
    """The curve of plain votes of fewer traces, which every policy has to beat."""
    known = [(v.size, v.tokens.value, v.accuracy.value) for v in votes if v.accuracy]
    if not known:
        return
    sizes, xs, ys = zip(*known, strict=True)
    label = f"cons@{sizes[0]}, {', '.join(map(str, sizes[1:3]))}, ... {sizes[-1]}: smaller votes"
    style = {"color": QUIET, "linewidth": 1.3, "marker": "o", "markersize": 3.5, "zorder": 3}
    axes.plot(xs, ys, label=label, **style)
    for size, x, y in known[:-1]:  # the last is the mark of cons itself
        below = {"textcoords": "offset points", "xytext": (0, -11), "ha": "center", "fontsize": 7.5}
        axes.annotate(f"@{size}", (x, y), zorder=3, **below, **(PLAIN | {"color": QUIET}))
