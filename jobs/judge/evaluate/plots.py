"""Plots of an evaluation: ROC curve, calibration, and cascade."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jobs.judge.evaluate.judged import Judged, Place
from jobs.render.figures import PLAIN, Plot, legend_below, new_figure, save_plot
from jobs.render.text import one_line
from jobs.render.theme import FAINT, INK, QUIET, colour
from training.offline.cascade import Step

MAX_NAME = 48


def draw_plots(
    judged: Sequence[Judged], place: Place, steps: Sequence[Step], folder: Path
) -> list[Plot]:
    """Draw all plots of an evaluation; write their PNGs into `folder`.

    Raises:
        UserError: a picture cannot be written.
    """
    names = [one_line(judge.name, MAX_NAME) for judge in judged]
    drawn = [
        (
            "roc",
            _roc(names, place),
            f"ROC over {place.subset} of {place.name}. The ring is each judge's threshold.",
        ),
        (
            "calibration",
            _calibration(names, place),
            "P(same) against the share of pairs that agree; on the line a judge is calibrated. "
            "Larger marks stand for more pairs.",
        ),
    ]
    if steps:
        caption = f"{names[0]} decides the pairs it is sure of, {names[1]} the rest."
        drawn.append(("cascade", _cascade(names, steps), caption))
    return [save_plot(figure, folder, f"{name}.png", caption) for name, figure, caption in drawn]


def _roc(names: Sequence[str], place: Place) -> Figure:
    figure, axes = new_figure(6, 5.6)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (4, 2)))
    for index, (name, found) in enumerate(zip(names, place.figures, strict=True)):
        misses, hits = found.roc
        label = f"{name} ({found.pooled.value:.3f})"
        axes.plot(misses, hits, color=colour(index), linewidth=1.8, label=label)
        taken = place.scores[index] > found.tau
        same = place.pairs.same
        ring = {"facecolor": "none", "edgecolor": colour(index), "zorder": 3}
        axes.scatter([taken[~same].mean()], [taken[same].mean()], s=44, **ring)
    axes.set_xlabel("share of differing pairs taken to agree")
    axes.set_ylabel("share of agreeing pairs found")
    return _finished(figure, axes)


def _calibration(names: Sequence[str], place: Place) -> Figure:
    figure, axes = new_figure(6, 5.6)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (4, 2)))
    for index, (name, found) in enumerate(zip(names, place.figures, strict=True)):
        xs, ys, counts = zip(*found.curve, strict=True)
        sizes = [8 + 80 * count / found.num_pairs for count in counts]
        axes.plot(xs, ys, color=colour(index), linewidth=1.4, label=f"{name} ({found.ece:.3f})")
        axes.scatter(xs, ys, s=sizes, color=colour(index))
    axes.set_xlabel("P(same)")
    axes.set_ylabel("share of pairs that agree")
    return _finished(figure, axes)


def _cascade(names: Sequence[str], steps: Sequence[Step]) -> Figure:
    figure, axes = new_figure(6, 4.6)
    shares = [100 * step.share for step in steps]
    for index, (label, values) in enumerate(
        (
            ("accuracy at tau", [step.accuracy for step in steps]),
            ("AUROC, pooled", [step.pooled for step in steps]),
            ("AUROC within a problem", [step.within for step in steps]),
        )
    ):
        axes.plot(shares, values, color=colour(index), marker="o", markersize=4, label=label)
    axes.set_xlabel(f"share of pairs that {names[1]} is asked about, per cent", **PLAIN)
    axes.grid(color=FAINT, linewidth=0.8)
    legend_below(figure, axes)
    return figure


def _finished(figure: Figure, axes: Any) -> Figure:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.tick_params(labelcolor=INK)
    legend_below(figure, axes)
    return figure
