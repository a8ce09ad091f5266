"""All plots of a setting: drawn, saved as PNG, inlined as SVG, and said in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from deepprune.errors import UserError
from jobs.render.figures import as_data_uri, save_png
from jobs.render.format import amount, percent, rate
from jobs.render.theme import FATE_NAMES
from jobs.report.bars import cluster_shares, draw_clusters, draw_fates
from jobs.report.html import Plot
from jobs.report.load import Run
from jobs.report.pareto import draw_judge_curve, draw_pareto
from jobs.report.summary import Setting


def draw(setting: Setting, runs: Sequence[Run], folder: Path, suffix: str) -> list[Plot]:
    """Draw what there is to draw; the PNGs go into `folder`.

    Raises:
        UserError: a picture cannot be written.
    """
    wanted: list[tuple[str, Callable[[], Figure | None], Callable[[], str], str]] = [
        (
            "pareto",
            lambda: draw_pareto(setting),
            lambda: _pareto_words(setting),
            "Accuracy and tokens of each entry. Bars: 95% intervals of the difference to cons on "
            "the same problems (of the figure itself where there is no cons). Dashed: the Pareto "
            "front of entries with real judges; hollow: the judge knew the answers.",
        ),
        (
            "judge-curve",
            lambda: draw_judge_curve(setting),
            lambda: _curve_words(setting),
            "What a policy needs when its judge is blurred to an AUROC, with 95% intervals.",
        ),
        (
            "fates",
            lambda: draw_fates(setting),
            lambda: _fates_words(setting),
            "What became of the generated tokens. The thin bar is what the judge read, which is "
            "prefill of another model and not part of the sum.",
        ),
        (
            "clusters",
            lambda: draw_clusters(setting, runs),
            lambda: _clusters_words(setting, runs),
            "How large the clusters were when clustering ended; problems weigh the same.",
        ),
    ]
    plots = []
    for name, make, words, caption in wanted:
        figure = make()
        if figure is not None:
            file = f"{name}{suffix}.png"
            try:
                save_png(figure, folder / file)
            except OSError as error:
                raise UserError(f"cannot write {folder / file}: {error.strerror}") from None
            plots.append(Plot(file, as_data_uri(figure), words(), caption))
    return plots


def _pareto_words(setting: Setting) -> str:
    points = [
        f"{s.label} {percent(s.accuracy.value)} at {amount(s.tokens.value)}"
        for s in setting.compared
        if s.accuracy and s.tokens
    ]
    return f"Accuracy against tokens per problem: {'; '.join(points)}."


def _curve_words(setting: Setting) -> str:
    points = [
        f"{s.entry.policy} at AUROC {s.entry.judge_auroc:g}: {percent(s.versus.tokens.value)}"
        for s in setting.summaries
        if s.entry.judge_auroc is not None and s.versus and s.versus.tokens
    ]
    return f"Share of the tokens of cons against the judge's AUROC: {'; '.join(points)}."


def _fates_words(setting: Setting) -> str:
    entries = []
    for s in setting.compared:
        parts = [
            f"{amount(s.fate(fate))} {name}" for fate, name in FATE_NAMES.items() if s.fate(fate)
        ]
        if s.judge_tokens and s.judge_tokens.value:
            parts.append(f"{amount(s.judge_tokens.value)} read by the judge")
        entries.append(f"{s.label}: {', '.join(parts)}")
    return f"Tokens per problem by fate: {'; '.join(entries)}."


def _clusters_words(setting: Setting, runs: Sequence[Run]) -> str:
    entries = []
    for s in setting.compared:
        found = cluster_shares(s, runs)
        if found:
            shares, number = found
            entries.append(f"{s.label}: {percent(shares[0], 0)}, {rate(number)} clusters")
    return f"Mean share of the largest cluster and number of clusters: {'; '.join(entries)}."
