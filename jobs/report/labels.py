"""Labels beside the points of a plot, where they hide neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from jobs.render.figures import PLAIN, drawing
from jobs.render.text import one_line
from jobs.render.theme import PAPER, QUIET

SIZE = 9
MAX_CHARS = 48
TOGETHER = 5.0
"""Points closer than this, in typographic points, share one label of several lines."""
MAX_LINES = 5
GAP = 9.0

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """An variant in the plane: tokens per problem and accuracy."""

    label: str
    tokens: float
    accuracy: float
    colour: str = QUIET


@dataclass(frozen=True, slots=True)
class _Place:
    dx: float
    dy: float
    box: Box
    side: str


def label_directly(
    figure: Figure, axes: Any, points: Sequence[Point], lines: Sequence[Box] = ()
) -> None:
    """Write each point's label beside it, with a line where it had to move away.

    `lines`, in the units of the axes, are level or upright and better not written on.
    """
    canvas = FigureCanvasAgg(figure)
    with drawing():
        canvas.draw()
    renderer = canvas.get_renderer()
    pixel = figure.dpi / 72
    at = {p: tuple(axes.transData.transform((p.tokens, p.accuracy))) for p in points}
    mark = 6 * pixel
    taken: list[Box] = [(x - mark, y - mark, x + mark, y + mark) for x, y in at.values()]
    for left, low, right, high in lines:
        (x0, y0), (x1, y1) = axes.transData.transform([(left, low), (right, high)])
        taken.append((x0 - pixel, y0 - pixel, x1 + pixel, y1 + pixel))
    frame = axes.get_window_extent(renderer)
    for group in _together(points, at, TOGETHER * pixel):
        shown = "\n".join(_lines(group))
        text = axes.text(0, 0, shown, fontsize=SIZE, transform=None, linespacing=1.15, **PLAIN)
        extent = text.get_window_extent(renderer)
        text.remove()
        x = sum(at[p][0] for p in group) / len(group)
        y = sum(at[p][1] for p in group) / len(group)
        place = _best(x, y, extent.width, extent.height, pixel, frame, taken)
        taken.append(place.box)
        _write(axes, shown, group[0], place, (x, y), at[group[0]], pixel)


def _together(
    points: Sequence[Point], at: dict[Point, tuple[float, ...]], distance: float
) -> list[list[Point]]:
    groups: list[list[Point]] = []
    for p in sorted(points, key=lambda p: (at[p][0], -at[p][1])):
        near = (
            g
            for g in groups
            if max(abs(at[g[-1]][i] - at[p][i]) for i in (0, 1)) <= distance
            and abs(at[g[0]][0] - at[p][0]) <= 4 * distance
        )
        group = next(near, None)
        if group is None:
            groups.append([p])
        else:
            group.append(p)
    return sorted(groups, key=len, reverse=True)


def _lines(group: Sequence[Point]) -> list[str]:
    lines = [one_line(p.label, MAX_CHARS) for p in group]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more"]
    return lines


def _best(
    x: float, y: float, width: float, height: float, pixel: float, frame: Any, taken: Sequence[Box]
) -> _Place:
    """The place that hides least, stays inside, and is nearest."""
    best, lowest = None, float("inf")
    for dx, dy, side in _offsets(width, height, GAP * pixel):
        box = (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2)
        outside = max(0.0, frame.x0 - box[0]) + max(0.0, box[2] - frame.x1)
        outside += max(0.0, frame.y0 - box[1]) + max(0.0, box[3] - frame.y1)
        hidden = sum(_overlap(box, other) for other in taken)
        cost = 2 * hidden / pixel + 1000 * outside + abs(dy) + (height if side == "middle" else 0)
        if cost < lowest:
            best, lowest = _Place(dx, dy, box, side), cost
    assert best is not None
    return best


def _offsets(width: float, height: float, gap: float) -> list[tuple[float, float, str]]:
    offsets = [(gap, 0.0, "right"), (-gap - width, 0.0, "left")]
    for step in range(1, 40):
        for dy in (step * gap, -step * gap):
            offsets += [(gap, dy, "right"), (-gap - width, dy, "left")]
            if abs(dy) > height / 2 + gap:
                offsets.append((-width / 2, dy, "middle"))
    return offsets


def _write(
    axes: Any,
    shown: str,
    point: Point,
    place: _Place,
    middle: tuple[float, float],
    anchor: Sequence[float],
    pixel: float,
) -> None:
    height = place.box[3] - place.box[1]
    far = abs(place.dy) > height / 2 + 2 * pixel
    start = {"right": (0, 0.5), "left": (1, 0.5), "middle": (0.5, 0 if place.dy > 0 else 1)}
    line = {
        "arrowstyle": "-",
        "color": point.colour,
        "linewidth": 0.8,
        "shrinkA": 0,
        "shrinkB": 5,
        "relpos": start[place.side],
    }
    offset = (
        (middle[0] + place.dx - anchor[0]) / pixel,
        (middle[1] + place.dy - anchor[1]) / pixel,
    )
    axes.annotate(
        shown,
        (point.tokens, point.accuracy),
        xytext=offset,
        textcoords="offset points",
        fontsize=SIZE,
        linespacing=1.15,
        va="center",
        arrowprops=line if far else None,
        annotation_clip=False,
        zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        **PLAIN,
    )


def _overlap(a: Box, b: Box) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    up = min(a[3], b[3]) - max(a[1], b[1])
    return across * up if across > 0 and up > 0 else 0.0
