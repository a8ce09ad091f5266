"""Bars of a scenario: what became of the tokens, and how large the clusters were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jobs.render.figures import PLAIN, bars_figure, legend_below, readable_on
from jobs.render.format import amount, percent, rate, tick
from jobs.render.text import one_line
from jobs.render.theme import (
    FAINT,
    FATE_COLOURS,
    FATE_NAMES,
    JUDGE_COLOUR,
    PAPER,
    QUIET,
    policy_colour,
)
from jobs.report.load import Run
from jobs.report.scenario import Scenario, Summary

MAX_RANKS = 16
LABEL_CHARS = 46


def draw_fates(scenario: Scenario) -> Figure | None:
    """Tokens per problem by what became of their traces; the judge's below, apart."""
    shown = [s for s in scenario.compared if s.tokens]
    if not shown:
        return None
    figure, axes = bars_figure(len(shown))
    floor = np.zeros(len(shown))
    places = np.arange(len(shown)) - 0.1
    for fate, name in FATE_NAMES.items():
        widths = np.array([s.fate(fate) for s in shown])
        if widths.any():
            axes.barh(places, widths, 0.5, floor, color=FATE_COLOURS[fate], label=name)
            floor += widths
    judge = np.array([s.judge_tokens.value if s.judge_tokens else 0.0 for s in shown])
    widest = float(floor.max())
    clipped = np.minimum(judge, widest * 1.08)
    if judge.any():
        axes.barh(places + 0.34, clipped, 0.14, color=JUDGE_COLOUR, label="read by the judge")
    for place, s in enumerate(shown):
        assert s.tokens
        share = f", {percent(s.token_share.value)}" if s.token_share else ""
        end = floor[place]
        beside = {"va": "center", "fontsize": 9, **(PLAIN | {"color": QUIET})}
        axes.text(end + widest * 0.01, place - 0.1, amount(s.tokens.value) + share, **beside)
        if judge[place] > clipped[place]:
            more = {**beside, "fontsize": 8}
            axes.text(
                clipped[place] + widest * 0.01, place + 0.26, f"→ {amount(judge[place])}", **more
            )
    _name_bars(axes, shown, -0.1)
    axes.set_xlim(0, widest * 1.2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x)))
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_xlabel("tokens per problem; beside the bar: their number, and share of cons")
    axes.set_title(f"Tokens by fate: {scenario.name}", loc="left", fontsize=11, pad=8, **PLAIN)
    legend_below(figure, axes)
    return figure


def draw_clusters(scenario: Scenario, runs: Sequence[Run]) -> Figure | None:
    """The mean share of clustered traces in the largest cluster, the second, and so on."""
    found = [(s, cluster_shares(s, runs)) for s in scenario.compared]
    shown = [(s, shares) for s, shares in found if shares is not None]
    if not shown:
        return None
    figure, axes = bars_figure(len(shown))
    for place, (s, (shares, number)) in enumerate(shown):
        base, left = np.array(to_rgb(policy_colour(s.variant.policy))), 0.0
        for rank, share in enumerate(shares):
            shade = 1 - (1 - base) * max(0.18, 0.85**rank)
            axes.barh(place, share, 0.62, left, color=tuple(shade), edgecolor=PAPER, linewidth=0.6)
            if share > 0.05:
                style = {"ha": "center", "va": "center", "fontsize": 8.5}
                style["color"] = readable_on(shade)
                axes.text(left + share / 2, place, percent(share, 0), **style)
            left += share
        beside = {"va": "center", "fontsize": 9, **(PLAIN | {"color": QUIET})}
        axes.text(1.01, place, f"{rate(number)} clusters", **beside)
    _name_bars(axes, [s for s, _ in shown])
    axes.set_xlim(0, 1.14)
    axes.set_xticks(np.linspace(0, 1, 5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x, 0)))
    axes.set_xlabel("share of the clustered traces: the largest cluster, the second, ...")
    axes.set_title(f"Cluster sizes: {scenario.name}", loc="left", fontsize=11, pad=8, **PLAIN)
    return figure


def cluster_shares(s: Summary, runs: Sequence[Run]) -> tuple[list[float], float] | None:
    """Mean share of each rank, problems weighing the same, and the mean number of clusters."""
    by_problem: dict[str, list[np.ndarray]] = {}
    counts: dict[str, list[int]] = {}
    for (problem, _), row in s.rows.items():
        clusters = runs[row.run].outcomes.column("clusters")[row.index]
        sizes = sorted((len(c) for c in clusters if c), reverse=True) if clusters.is_valid else []
        if sizes:
            shares = np.zeros(max(MAX_RANKS, len(sizes)))
            shares[: len(sizes)] = np.array(sizes) / sum(sizes)
            by_problem.setdefault(problem, []).append(
                np.append(shares[: MAX_RANKS - 1], shares[MAX_RANKS - 1 :].sum())
            )
            counts.setdefault(problem, []).append(len(sizes))
    if not by_problem:
        return None
    mean = np.mean([np.mean(found, axis=0) for found in by_problem.values()], axis=0)
    number = float(np.mean([np.mean(found) for found in counts.values()]))
    return [float(share) for share in mean if share > 0], number


def _name_bars(axes: Any, shown: Sequence[Summary], shift: float = 0.0) -> None:
    labels = [one_line(s.label, LABEL_CHARS) for s in shown]
    axes.set_yticks([place + shift for place in range(len(shown))], labels, **PLAIN)
