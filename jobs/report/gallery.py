"""All plots of a scenario: drawn, saved as PNG and inlined as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs.render.figures import Plot, save_plot
from jobs.report.bars import draw_clusters, draw_fates
from jobs.report.lanes import draw_lanes, labels_beside, typical_page
from jobs.report.load import Run
from jobs.report.pages import Page
from jobs.report.pareto import draw_judge_curve, draw_pareto
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
    drawn = (
        (
            "pareto",
            draw_pareto(scenario),
            "Accuracy and tokens of each variant. Bars: 95% intervals of the difference to cons on "
            "the same problems (of the figure itself where there is no cons). Dashed: the Pareto "
            "front of variants with real judges; hollow: the judge knew the answers. Grey line: "
            "plain votes of fewer traces.",
        ),
        (
            "judge-curve",
            draw_judge_curve(scenario),
            "Tokens and accuracy of a policy whose judge is made noisy down to an AUROC, with 95% "
            "intervals.",
        ),
        (
            "fates",
            draw_fates(scenario),
            "Generated tokens by the fate of their traces. Thin bar: tokens that the judge read; "
            "they are prefill of another model and not part of the sum.",
        ),
        (
            "clusters",
            draw_clusters(scenario, runs),
            "Sizes of the clusters at the end of clustering; each problem weighs the same.",
        ),
        (
            "lanes",
            draw_lanes(page, labels_beside(page, scenario, pick)) if page and pick else None,
            "The traces of the problem with the median saving, each as long as its tokens. Notch: "
            "its checkpoint; cross: cancelled there; dotted: recorded, never generated.",
        ),
    )
    return [
        save_plot(figure, folder, f"{name}{suffix}.png", caption)
        for name, figure, caption in drawn
        if figure is not None
    ]
