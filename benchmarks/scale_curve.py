"""Plot the rows of `benchmarks/scale.py`: CPU time of a trace, and cancel lag.

python -m benchmarks.scale_curve ROWS.jsonl docs/images/scale.png
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from jobs.render.figures import drawing, legend_below, new_figure, save_png
from jobs.render.theme import INK, QUIET, policy_colour

MARKS = {1: "o", 8: "s", 64: "^"}


def main(measured: Path, out: Path) -> None:
    rows = [json.loads(line) for line in measured.read_text().splitlines()]
    with drawing():
        figure, (cost, lag) = new_figure(9, 3.9, ncols=2)
        for policy, nodes, shards in dict.fromkeys(map(_series, rows)):
            line = sorted(
                (r for r in rows if _series(r) == (policy, nodes, shards)),
                key=lambda row: row["num_traces"],
            )
            style = {"color": policy_colour(policy), "marker": MARKS[nodes], "markersize": 5}
            name = f"{policy}, {nodes} node{'s' * (nodes > 1)}"
            if shards > 1:
                name += f", {shards} shards"
                style |= {"markerfacecolor": "none", "markersize": 8}
            _line(cost, line, _ms_per_trace, name, style)
            if policy != "cons":  # which cancels nothing
                _line(lag, line, lambda row: row["lags_ms"][1], "", style)
        _label(cost, "coordinator CPU, ms per trace")
        _label(lag, "cancel lag in one process, ms (99%)")
        legend_below(figure, cost)
    save_png(figure, out)


def _series(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["policy"], row["num_nodes"], row["shards"]


def _line(axes: Any, rows: list[dict[str, Any]], of: Any, name: str, style: dict[str, Any]) -> None:
    axes.plot(
        [row["num_traces"] for row in rows],
        [of(row) for row in rows],
        label=name or None,
        linewidth=1.3,
        **style,
    )


def _ms_per_trace(row: dict[str, Any]) -> float:
    return 1000 * float(row["cpu_s"] - row["engines_s"]) / float(row["launched"])


def _label(axes: Any, title: str) -> None:
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("traces in flight", color=QUIET)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xticks([1e3, 1e4, 1e5], ["1k", "10k", "100k"])


if __name__ == "__main__":
    typer.run(main)
