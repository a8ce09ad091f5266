"""One problem's traces as lanes, by self-consistency and by other variants beside it.

The same answer has the same colour everywhere. A cancelled trace has the colour of the answer that
its cluster came to, and is grey where no trace of the cluster finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jobs.render.figures import PLAIN, new_figure
from jobs.render.format import counted, fewer
from jobs.render.text import one_line, shown_answer, units
from jobs.render.theme import FAINT, INK, OTHER_COLOUR, PAPER, QUIET, colour
from jobs.report.pages import Page
from jobs.report.scenario import Scenario, Summary

MAX_VARIANTS, MAX_ANSWERS = 3, 6
MIN_LABELLED_LANES = 3
CANCELLED_ALPHA = 0.46


def draw_lanes(page: Page, labels: Sequence[str]) -> Figure:
    """Draw every trace of a problem along the tokens it generated, a column for each label."""
    variants = {variant["label"]: variant for variant in page.data["variants"]}
    shown = [variants[label] for label in labels]
    lanes = [[lane for group in v["groups"] for lane in group["lanes"]] for v in shown]
    longest = max((lane[2] for column in lanes for lane in column), default=1)
    num_rows = max(len(column) + v["never"] for column, v in zip(lanes, shown, strict=True))
    ranks = _ranks(page.data)
    figure, (row,) = new_figure(4.6 * len(shown), 6.6, ncols=len(shown), squeeze=False)
    for axes, variant, column in zip(row, shown, lanes, strict=True):
        _draw_groups(axes, variant, page.texts, ranks, longest)
        traces = counted(len(column), "trace")
        text = f"{traces}, {round(variant['tokens'] or 0):,} tokens"
        if variant is not shown[0]:
            text += f": {fewer(variant['tokens'] or 0, shown[0]['tokens'] or 0)}"
        title = f"{one_line(variant['label'], 48)}\n{text}"
        axes.set_title(title, loc="left", fontsize=10.5, **PLAIN)
        axes.set_xlim(0, longest * 1.02)
        axes.set_ylim(num_rows, -1)
        axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("tokens generated")
    _legend(figure, page.data["answers"], ranks)
    heading = one_line(page.data["problem"], 120)
    if page.data["reference"] is not None:
        heading += f"   →   {shown_answer(page.data['reference'], 30)}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10, **(PLAIN | {"color": QUIET}))
    return figure


def typical_page(pages: Sequence[Page], scenario: Scenario, pick: Summary) -> Page | None:
    """The page of the problem on which the highlighted variant saved the median of the tokens."""
    plain = scenario.baseline()
    shares = []
    for page in pages:
        ours, theirs = page.rows.get(pick.label), page.rows.get(plain.label if plain else "")
        if ours and theirs and ours.tokens is not None and theirs.tokens:
            shares.append((ours.tokens / theirs.tokens, page.problem_id, page))
    return sorted(shares)[len(shares) // 2][2] if shares else None


def labels_beside(page: Page, scenario: Scenario, pick: Summary) -> list[str]:
    """The baseline, the highlighted variant, and another where there is one, in order."""
    plain = scenario.baseline()
    others = [s for s in scenario.compared if not s.variant.is_limit and s not in (plain, pick)]
    chosen = [s for s in (plain, pick, *others) if s is not None and s.label in page.rows]
    chosen = chosen[:MAX_VARIANTS]
    return [summary.label for summary in scenario.summaries if summary in chosen]


def _ranks(data: Mapping[str, Any]) -> dict[int, int]:
    """The rank of each answer by the number of its traces, as in the page of the problem."""
    lanes = (lane for v in data["variants"] for group in v["groups"] for lane in group["lanes"])
    counts = Counter(lane[5] for lane in lanes if lane[5] >= 0)
    return {answer: rank for rank, (answer, _) in enumerate(counts.most_common())}


def _draw_groups(
    axes: Any,
    variant: Mapping[str, Any],
    texts: Sequence[str],
    ranks: Mapping[int, int],
    longest: int,
) -> None:
    y = 0
    for group in variant["groups"]:
        finished = [lane[5] for lane in group["lanes"] if lane[3] == 0 and lane[5] >= 0]
        start = y
        for _, tokens, whole, fate, _, answer, text, mark, _ in group["lanes"]:
            known = answer if answer >= 0 or fate == 0 or not finished else finished[0]
            shade = colour(ranks[known]) if known >= 0 else OTHER_COLOUR
            axes.barh(y, tokens, 0.74, color=to_rgba(shade, 1 if fate == 0 else CANCELLED_ALPHA))
            if whole > tokens:
                axes.hlines(y, tokens, whole, color=FAINT, linewidth=0.8, linestyle=":")
            if mark >= 0 and text >= 0:
                checkpoint = whole * mark / max(1, units(texts[text], len(texts[text])))
                if checkpoint < 0.995 * tokens:
                    axes.vlines(checkpoint, y - 0.37, y + 0.37, PAPER, linewidth=1.2)
            if fate != 0:
                axes.plot(tokens, y, "x", color=INK, markersize=3, clip_on=False)
            y += 1
        _name(axes, group["name"], start, y)
    axes.barh(range(y, y + variant["never"]), longest, 0.14, color=FAINT)
    _name(axes, "never\nlaunched", y, y + variant["never"])


def _name(axes: Any, name: str, start: int, end: int) -> None:
    if end - start >= MIN_LABELLED_LANES:
        style = {"ha": "right", "va": "center", "fontsize": 8, **PLAIN}
        across = axes.get_yaxis_transform()
        axes.text(-0.015, (start + end - 1) / 2, _below_each_other(name), transform=across, **style)


def _below_each_other(name: str) -> str:
    """A name of a group, whose words stand below each other."""
    return "\n".join(one_line(word, 14) for word in name.split(maxsplit=1))


def _legend(figure: Figure, answers: Sequence[str], ranks: Mapping[int, int]) -> None:
    handles: list[Any] = [
        Patch(color=colour(rank), label=f"answer {shown_answer(answers[answer], 16)}")
        for answer, rank in list(ranks.items())[:MAX_ANSWERS]
    ]
    grey = to_rgba(OTHER_COLOUR, CANCELLED_ALPHA)
    cancelled: dict[str, Any] = {"marker": "x", "markeredgecolor": INK, "markersize": 5}
    handles += [
        Line2D([], [], color=grey, linewidth=7, label="cancelled", **cancelled),
        Line2D([], [], color=FAINT, linewidth=2, label="never launched"),
    ]
    style = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 1.4}
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=8, **style)
    for text in legend.get_texts():
        text.set_parse_math(False)
