"""Write an evaluation: `evaluation.json`, `.md`, `.html` and the plots."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from deepprune.errors import UserError
from deepprune.statistics import Estimate
from jobs.judge.evaluate.judged import ALL, Judged, Place, places
from jobs.judge.evaluate.plots import draw_plots
from jobs.render import html
from jobs.render.format import DASH, amount, counted, percent
from jobs.render.html import Section
from jobs.render.table import Cell, Table, estimated
from jobs.render.text import markdown_text, one_line
from training.offline.cascade import Step, cascade
from training.offline.evaluation import Evaluation
from training.pairs.data import PairSet

NAME = "evaluation"
NOTE = (
    "In brackets: 95% bootstrap intervals over problems. AUROC within a problem: the mean over "
    "problems with five pairs or more of either class, which is what pruning rests on; the pooled "
    "one also rewards telling easy problems from hard ones. TNR@0.2: of the pairs that differ, "
    "those told apart where 20% of agreeing pairs are lost. Precision and recall: of pairs above "
    "tau. Calibration error: the mean distance between P(same) and the share that agrees."
)


def write_evaluation(
    judged: Sequence[Judged], pairs: PairSet, folder: Path, *, cascade_of_two: bool
) -> None:
    """Compute the figures and write all files of an evaluation.

    Raises:
        UserError: something cannot be written.
    """
    found = list(places(judged, pairs))
    main = next(place for place in found if place.subset == ALL)
    steps = _steps(judged, pairs) if cascade_of_two else []
    plots = draw_plots(judged, main, steps, folder)
    tables = [_table(judged, place, explained=place is main) for place in found]
    costs = [_costs(judged, len(pairs)), *([_cascade_table(judged, steps)] if steps else [])]
    names = ", ".join(one_line(judge.name, 60) for judge in judged)
    title = f"Judges on {main.name}"
    sections = [
        Section("figures", "Figures", tables),
        Section("plots", "Plots", plots),
        Section("costs", "Cost", costs),
    ]
    problems = counted(main.figures[0].num_problems, "problem")
    subject = f"{counted(len(pairs), 'pair')} of {problems}"
    write_text(folder / f"{NAME}.html", html.page(title, subject, sections, f"Judges: {names}."))
    blocks = [f"# {markdown_text(title)}", *(table.markdown() for table in [*tables, *costs])]
    write_text(folder / f"{NAME}.md", "\n\n".join(blocks) + "\n")
    data = {
        "judges": [
            {"name": j.name, "tau": j.tau, "seconds": j.seconds, "num_tokens": j.num_tokens}
            for j in judged
        ],
        "places": [_as_data(judged, place) for place in found],
        "cascade": [asdict(step) for step in steps],
    }
    write_text(folder / f"{NAME}.json", json.dumps(_plain(data), indent=2) + "\n")


def _steps(judged: Sequence[Judged], pairs: PairSet) -> list[Step]:
    cheap, expensive = judged
    known = 0.5 if cheap.base_rate is None else cheap.base_rate
    base_rate = min(max(known, 0.01), 0.99)
    return cascade(pairs.same, cheap.logits, expensive.logits, pairs.problem, base_rate)


def _table(judged: Sequence[Judged], place: Place, *, explained: bool) -> Table:
    first = place.figures[0]
    headings = (
        *("judge", "AUROC within a problem", "AUROC pooled", "TNR@0.2"),
        *("tau", "precision", "recall", "calibration error"),
    )
    rows = tuple(
        (
            Cell(one_line(judge.name, 60)),
            estimated(found.within, three_digits),
            estimated(found.pooled, three_digits),
            estimated(found.tnr, three_digits),
            *(Cell(three_digits(v)) for v in (found.tau, found.precision, found.recall, found.ece)),
        )
        for judge, found in zip(judged, place.figures, strict=True)
    )
    about = (
        f"{counted(first.num_pairs, 'pair')} of {counted(first.num_problems, 'problem')}, "
        f"{percent(first.share_same)} agree; {first.num_within} problems have enough of either "
        "class to count within."
    )
    title = f"{place.name}: {place.subset}"
    return Table(title, headings, rows, (about, NOTE) if explained else (about,))


def _costs(judged: Sequence[Judged], num_pairs: int) -> Table:
    rows = tuple(
        (
            Cell(one_line(judge.name, 60)),
            Cell(amount(1000 * judge.seconds / num_pairs)),
            Cell(amount(judge.num_tokens / num_pairs)),
        )
        for judge in judged
    )
    note = "Tokens that its language model was shown, before any cache; time on this machine."
    return Table("What judging costs", ("judge", "ms per pair", "tokens per pair"), rows, (note,))


def _cascade_table(judged: Sequence[Judged], steps: Sequence[Step]) -> Table:
    cheap, expensive = (one_line(judge.name, 60) for judge in judged)
    per_pair = judged[1].num_tokens / len(judged[1].p_same)
    rows = tuple(
        (
            Cell(percent(step.share, 0)),
            Cell(amount(per_pair * step.share)),
            *(Cell(three_digits(value)) for value in (step.accuracy, step.pooled, step.within)),
        )
        for step in steps
    )
    headings = ("tokens per pair", "accuracy", "AUROC pooled", "AUROC within")
    title = f"Cascade: {cheap} decides the clear pairs, {expensive} the rest"
    return Table(title, (f"asked of {expensive}", *headings), rows)


def _as_data(judged: Sequence[Judged], place: Place) -> dict[str, Any]:
    return {
        "name": place.name,
        "pairs": place.subset,
        "judges": {
            judge.name: _figures(found) for judge, found in zip(judged, place.figures, strict=True)
        },
    }


def _figures(found: Evaluation) -> dict[str, Any]:
    kept = {k: v for k, v in vars(found).items() if k not in ("roc", "pooled", "within", "tnr")}
    for name in ("pooled", "within", "tnr"):
        estimate: Estimate | None = getattr(found, name)
        kept[name] = [None] * 3 if estimate is None else list(astuple(estimate))
    return kept


def _plain(value: Any) -> Any:
    """Replace NaN by None, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def three_digits(value: float) -> str:
    """A figure between 0 and 1."""
    return DASH if math.isnan(value) else f"{value:.3f}"


def write_text(path: Path, content: str) -> None:
    """Write a file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
