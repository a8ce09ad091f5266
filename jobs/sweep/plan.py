"""`deepprune plan`: predict hours and costs of a sweep by replay. Needs no cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.configs import resolve_config
from deepprune.config import load_config
from deepprune.loading import find
from deepprune.plan_config import PlanConfig, load_plan
from jobs.render.format import amount, counted, percent
from jobs.render.progress import Progress
from jobs.render.table import Cell, Table
from jobs.render.text import markdown_text
from jobs.sweep.cost_estimator import Planner, Prediction, cheapest, shown_mix

PLANS = Path(__file__).parents[1] / "configs" / "plans"


def plan(config_name: str, overrides: dict[str, Any], as_json: bool, markdown: Path | None) -> None:
    """Predict each policy on each mix of nodes; print the predictions.

    Raises:
        UserError: the plan, its run, its recording or its nodes cannot be planned with.
    """
    path = find(config_name, list(PLANS.glob("*.yaml")), "plan")
    config = load_plan(path, overrides)
    base = path.parent
    run = base / config.run if (base / config.run).is_file() else resolve_config(config.run)
    with Progress("planning", len(config.mixes) * len(config.cells())) as progress:
        progress.phase("preparing traces")
        planner = Planner(config, load_config(run), base)
        predictions = []
        for policy, judge in planner.cells:
            for mix in config.mixes:
                predictions.append(planner.predict(policy, judge, mix))
                progress.step()
    best = cheapest(predictions, config.within_h)
    table, verdict = _table(config, planner, predictions, best), _verdict(config, best)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(predictions, best), indent=2) + "\n")
    else:
        console = Console(highlight=False)
        console.print(table)
        for line in verdict:
            console.print(line, markup=False)
    if markdown is not None:
        lines = "".join(f"- {markdown_text(line)}\n" for line in verdict)
        markdown.write_text(f"{table.markdown()}\n\n{lines}", "utf-8")


def _title(config: PlanConfig, planner: Planner) -> str:
    source = config.recording or "made up"
    return (
        f"{config.run}: {counted(config.num_problems, 'problem')}, traces of "
        f"{planner.mean_tokens:,.0f} tokens ({source})"
    )


def _cells(config: PlanConfig, p: Prediction) -> dict[str, str]:
    """The columns of the table by heading, without empty ones."""
    cells = {
        "nodes": shown_mix(p.mix),
        "engines": f"{p.num_generators}+{p.num_judges}" if p.num_judges else f"{p.num_generators}",
        "hours": f"{p.hours:.3g}",
        "GPU-h": f"{p.gpu_hours:.3g}",
    }
    if config.prices:
        cells["cost"] = f"{p.cost:,.2f}"
    cells |= {
        "busy": percent(p.busy, 0),
        "tokens": amount(p.generated_tokens),
        "judged": amount(p.judge_tokens),
    }
    if p.correct is not None:
        cells["right"] = str(p.correct)
    return cells


def named(p: Prediction) -> str:
    """The name of a policy, with its judge or the judge's AUROC."""
    judge = (p.judge or "").removeprefix("noisy:")
    return f"{p.policy} ({judge})" if judge else p.policy


def _verdict(config: PlanConfig, best: Sequence[Prediction]) -> list[str]:
    """Name the cheapest mix for each policy, and the cheapest of all."""
    limit = f" within {config.within_h:g} h" if config.within_h is not None else ""
    if not best:
        return [f"No mix is done{limit}: name larger ones."]
    unit = "" if config.prices else " GPU-hours"
    said = [
        f"{named(p)}: cheapest{limit} on {shown_mix(p.mix)}, {p.cost:,.2f}{unit}, {p.hours:.3g} h"
        for p in best
    ]
    return [*said, f"Cheapest of all: {named(best[0])} on {shown_mix(best[0].mix)}"]


def _table(
    config: PlanConfig,
    planner: Planner,
    predictions: Sequence[Prediction],
    best: Sequence[Prediction],
) -> Table:
    rows = [
        tuple(
            Cell(cell, kind="best" if p in best else "")
            for cell in (named(p), *_cells(config, p).values())
        )
        for p in predictions
    ]
    headings = ("policy", *_cells(config, predictions[0]))
    return Table(_title(config, planner), headings, tuple(rows), num_names=2)


def _as_json(predictions: Sequence[Prediction], best: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "predictions": [asdict(p) for p in predictions],
        "cheapest": [asdict(p) for p in best],
    }
