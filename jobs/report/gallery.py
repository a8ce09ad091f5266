"""All plots of a scenario: drawn, saved as PNG, inlined as SVG, and said in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jobs.render.figures import Plot, save_plot
from jobs.render.format import amount, percent, rate
from jobs.render.theme import FATE_NAMES
from jobs.report.bars import cluster_shares, draw_clusters, draw_fates
from jobs.report.lanes import draw_lanes, labels_beside, typical_page
from jobs.report.load import Run
from jobs.report.pages import Page
from jobs.report.pareto import draw_judge_curve, draw_pareto
from jobs.report.scenario import Scenario
from jobs.report.verdict import Verdict


def draw(
    verdict: Verdict, pages: Sequence[Page], runs: Sequence[Run], folder: Path, suffix: str
) -> list[Plot]:
    """Draw the plots that a scenario has data for; the PNGs go into `folder`.

    Raises:
        UserError: a picture cannot be written.
    """
    scenario, pick = verdict.scenario, verdict.pick
    page = typical_page(pages, scenario, pick) if pick else None
    wanted: list[tuple[str, Callable[[], Figure | None], Callable[[], str], str]] = [
        (
            "pareto",
            lambda: draw_pareto(scenario),
            lambda: _pareto_words(scenario),
            "Accuracy and tokens of each variant. Bars: 95% intervals of the difference to cons on "
            "the same problems (of the figure itself where there is no cons). Dashed: the Pareto "
            "front of variants with real judges; hollow: the judge knew the answers. Grey line: "
            "plain votes of fewer traces.",
        ),
        (
            "judge-curve",
            lambda: draw_judge_curve(scenario),
            lambda: _curve_words(scenario),
            "Tokens and accuracy of a policy whose judge is made noisy down to an AUROC, with 95% "
            "intervals.",
        ),
        (
            "fates",
            lambda: draw_fates(scenario),
            lambda: _fates_words(scenario),
            "Generated tokens by the fate of their traces. Thin bar: tokens that the judge read; "
            "they are prefill of another model and not part of the sum.",
        ),
        (
            "clusters",
            lambda: draw_clusters(scenario, runs),
            lambda: _clusters_words(scenario, runs),
            "Sizes of the clusters at the end of clustering; each problem weighs the same.",
        ),
        (
            "lanes",
            lambda: (
                draw_lanes(page, labels_beside(page, scenario, pick)) if page and pick else None
            ),
            lambda: f"Each trace of problem {page.problem_id if page else ''} as a lane.",
            "The traces of the problem with the median saving, each as long as its tokens. Notch: "
            "its checkpoint; cross: cancelled there; dotted: recorded, never generated.",
        ),
    ]
    plots = []
    for name, make, words, caption in wanted:
        figure = make()
        if figure is not None:
            file = f"{name}{suffix}.png"
            plots.append(save_plot(figure, folder, file, alt=words(), caption=caption))
    return plots


def _pareto_words(scenario: Scenario) -> str:
    points = [
        f"{s.label} {percent(s.accuracy.value)} at {amount(s.tokens.value)}"
        for s in scenario.compared
        if s.accuracy and s.tokens
    ]
    if scenario.smaller:
        points += [
            f"{vote.label} {percent(vote.accuracy.value)} at {amount(vote.tokens.value)}"
            for vote in scenario.smaller.curve
            if vote.accuracy
        ]
    return f"Accuracy against tokens per problem: {'; '.join(points)}."


def _curve_words(scenario: Scenario) -> str:
    points = [
        f"{s.variant.policy} at {s.variant.judge_auroc:g}: {percent(s.token_share.value)}"
        for s in scenario.summaries
        if s.variant.judge_auroc is not None and s.token_share
    ]
    return f"Share of the tokens of cons against the judge's AUROC: {'; '.join(points)}."


def _fates_words(scenario: Scenario) -> str:
    variants = []
    for s in scenario.compared:
        parts = [
            f"{amount(s.fate(fate))} {name}" for fate, name in FATE_NAMES.items() if s.fate(fate)
        ]
        if s.judge_tokens and s.judge_tokens.value:
            parts.append(f"{amount(s.judge_tokens.value)} read by the judge")
        variants.append(f"{s.label}: {', '.join(parts)}")
    return f"Tokens per problem by fate: {'; '.join(variants)}."


def _clusters_words(scenario: Scenario, runs: Sequence[Run]) -> str:
    variants = []
    for s in scenario.compared:
        found = cluster_shares(s, runs)
        if found:
            shares, number = found
            variants.append(f"{s.label}: {percent(shares[0], 0)}, {rate(number)} clusters")
    return f"Mean share of the largest cluster and number of clusters: {'; '.join(variants)}."
