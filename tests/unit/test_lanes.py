"""The figure of one problem's traces."""

import warnings

import matplotlib.image
from matplotlib.colors import to_rgba

from jobs.cli import main
from jobs.render.theme import OTHER_COLOUR, PALETTE
from jobs.report.lanes import CANCELLED_ALPHA, draw_lanes
from jobs.report.load import load_runs
from jobs.report.pages import build_pages
from jobs.report.summary import summarise
from jobs.report.trace_texts import TraceTexts
from tests.support.sample_runs import AFTER, BEFORE, end, outcome, trace, write_run

HOSTILE = "$\\undefined{ \n $\\frac{1}$ \x1b[31m"


def pages_of(folder):
    """A page on which cons has four traces, and deepprune two clusters of two and one apart."""
    cons = [
        {"answer": "42", "count": 3, "samples": [0, 1, 2], "weight": 3.0},
        {"answer": "41", "count": 1, "samples": [3], "weight": 1.0},
    ]
    ours = [{"answer": "42", "count": 1, "samples": [0], "weight": 1.0}]
    ends = [end(0, 8), *(end(s, 4, AFTER, "redundant") for s in (1, 2, 3))]
    more = {"clusters": [[0, 1], [2, 3]], "votes": ours, "judge": "tfidf", "driver": "live"}
    rows = [
        outcome(1, "cons", votes=cons, ends=[end(s, 8) for s in range(4)], driver="live"),
        outcome(1, "deepprune", ends=[*ends, end(4, 2, BEFORE, "saturated")], **more),
    ]
    words = "so " * 8
    traces = [trace(1, s, words, policy="cons") for s in range(4)]
    traces += [trace(1, 0, words, policy="deepprune") | {"prefix_chars": 12}]
    runs = load_runs([write_run(folder, rows, traces=traces)])
    (pages,) = build_pages(summarise(runs), runs, TraceTexts(runs), 10_000)
    return pages.pages


def test_every_launched_trace_has_one_lane_in_the_colour_of_its_answer(tmp_path):
    (page,) = pages_of(tmp_path / "run")
    left, right = draw_lanes(page, ["cons@4", "deepprune"]).axes
    assert [bar.get_width() for bar in left.patches] == [8] * 4
    assert [bar.get_width() for bar in right.patches[:5]] == [8, 4, 4, 4, 2]
    first, second = (to_rgba(PALETTE[rank]) for rank in (0, 1))
    assert [bar.get_facecolor() for bar in left.patches] == [first] * 3 + [second]
    cancelled, unknown = (to_rgba(c, CANCELLED_ALPHA) for c in (PALETTE[0], OTHER_COLOUR))
    colours = [bar.get_facecolor() for bar in right.patches[:5]]
    assert colours == [first, cancelled, unknown, unknown, unknown]
    (checkpoint,) = right.collections  # the only one that is known, half way through the text
    assert checkpoint.get_segments()[0][0][0] == 4


def test_nothing_from_a_model_can_break_the_figure(tmp_path):
    rows = [
        outcome(HOSTILE, policy, answer=HOSTILE, reference=HOSTILE, tokens=tokens)
        for policy, tokens in (("cons", 100), ("esc", 50))
    ]
    run = write_run(tmp_path / "run", rows)
    with warnings.catch_warnings(action="error"):
        assert main(["report", str(run)]) == 0
    assert matplotlib.image.imread(run / "lanes.png").std() > 0.03
