"""The look of all plots, and figures as PNG and inlined SVG.

A figure is drawn once. As PNG it stands on white paper; as SVG its greys follow the reader's light
or dark scheme. Text from models is never read as TeX.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from deepprune.errors import UserError
from jobs.render.html import render
from jobs.render.theme import DARK, INK, PAPER, QUIET

DPI = 160
PLAIN: dict[str, Any] = {"color": INK, "parse_math": False}
BAR_INCHES = 0.34

_STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "deepprune",
    "font.size": 10,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.labelcolor": QUIET,
}


def new_figure(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:
    """An empty figure with its axes, framed only at the left and below."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        axes = figure.subplots(**subplots)
    for part in figure.axes:
        part.spines[["top", "right"]].set_visible(False)
        part.tick_params(length=3, labelsize=9)
        part.set_axisbelow(True)
    return figure, axes


def bars_figure(num_bars: int) -> tuple[Figure, Any]:
    """Room for horizontal bars, the first at the top, without a frame."""
    figure, axes = new_figure(9, 1.15 + BAR_INCHES * num_bars)
    axes.spines[:].set_visible(False)
    axes.set_ylim(num_bars - 0.4, -0.6)
    axes.tick_params(length=0)
    return figure, axes


def legend_below(figure: Figure, axes: Any) -> None:
    """The legend in rows under the plot."""
    handles, names = axes.get_legend_handles_labels()
    # 130 letters are about the width of a figure, and the mark of an entry takes that of 8.
    columns = max(1, min(4, len(names), 130 // (8 + max(map(len, names), default=0))))
    style = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 1.2}
    legend = figure.legend(handles, names, loc="outside lower center", ncols=columns, **style)
    for text in legend.get_texts():
        text.set_parse_math(False)


def readable_on(shade: Any) -> str:
    """A dark or a light colour for text on a colour."""
    return "#fefefe" if np.dot(to_rgb(shade), (0.3, 0.59, 0.11)) < 0.55 else "#22262a"


@contextmanager
def drawing() -> Iterator[None]:
    """While a figure is drawn: its style, and no warnings of letters that its font lacks."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure: its PNG, the figure inlined, and its caption."""

    file: str
    uri: str
    caption: str

    def __html__(self) -> str:
        """The plot as a template shows it."""
        return render("jobs.render", "plot.html", plot=self)


def save_plot(figure: Figure, folder: Path, file: str, caption: str) -> Plot:
    """Write a figure as PNG into a folder, and inline it.

    Raises:
        UserError: the picture cannot be written.
    """
    try:
        save_png(figure, folder / file)
    except OSError as error:
        raise UserError(f"cannot write {folder / file}: {error.strerror}") from None
    return Plot(file, as_data_uri(figure), caption)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure for papers and slides, on white."""
    with drawing():
        figure.savefig(path, facecolor=PAPER, dpi=DPI)


def as_data_uri(figure: Figure) -> str:
    """A figure as SVG for an `img`, without a background, following the reader's scheme."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with drawing():
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = re.sub(
        r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.S
    )
    light = "".join(f"--{_name(grey)}:{grey};" for grey in DARK)
    dark = "".join(f"--{_name(grey)}:{other};" for grey, other in DARK.items())
    for grey in DARK:
        svg = svg.replace(grey, f"var(--{_name(grey)})")
    style = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    svg = re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, svg, count=1)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.strip().encode()).decode()


def _name(grey: str) -> str:
    return f"c{grey[1:]}"
