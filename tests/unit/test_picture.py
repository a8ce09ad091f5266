from dataclasses import replace

import matplotlib.image
import pytest

from deepprune.events import Decision
from deepprune.policies import make_policy
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.traces import Problem
from jobs.render import picture
from jobs.render.theme import PALETTE
from tests.support import sample_results
from tests.support.memory_driver import Driver, SimulatedTrace


def assert_drawn(path):
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[0] > 400 and pixels.shape[1] > 800
    assert pixels.std() > 0.05  # not an empty sheet


def test_a_picture_of_one_problem(tmp_path):
    picture.draw_lanes(sample_results.cons(), sample_results.pruned(), tmp_path / "lanes.png")
    assert_drawn(tmp_path / "lanes.png")


def test_a_picture_of_all_problems(tmp_path):
    picture.draw_totals(
        [sample_results.cons().outcome] * 3,
        [sample_results.pruned().outcome] * 3,
        tmp_path / "totals.png",
    )
    assert_drawn(tmp_path / "totals.png")


def test_a_run_gets_both_pictures_of_each_policy(tmp_path):
    other = Problem("made/8", "?")
    cons = [sample_results.cons(), sample_results.cons(other)]
    picture.save_pictures(tmp_path, cons, [sample_results.pruned(), sample_results.pruned(other)])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"deepprune-lanes.png", "deepprune-totals.png"}


def test_nothing_from_a_model_can_break_a_picture(tmp_path):
    """Broken TeX, line breaks, no votes at all."""
    cons, pruned = (
        sample_results.cons(Problem("$a/_^{", "$\\frac{1}$ \n" * 99, "$\\undefined{")),
        sample_results.pruned(),
    )
    votes = tuple((f"$\\frac{{{i}}}{{\n$", (i,)) for i in range(3))
    cons = replace(cons, outcome=replace(cons.outcome, decision=Decision("$", votes)))
    picture.draw_lanes(cons, sample_results.interrupted(pruned), tmp_path / "a.png")
    picture.draw_totals([cons.outcome], [pruned.outcome], tmp_path / "b.png")
    picture.draw_lanes(
        sample_results.interrupted(sample_results.cons()), pruned, tmp_path / "c.png"
    )
    for name in "abc":
        assert_drawn(tmp_path / f"{name}.png")


def test_a_cluster_has_the_colour_of_the_answer_it_came_to():
    """The same answer has the same colour on both sides; others take what is free."""
    cons, pruned = sample_results.cons().outcome, sample_results.pruned().outcome
    pruned = replace(pruned, decision=Decision("41", (("41.0", (0, 1)),), ((0, 1, 3), (2,))))
    colours = picture._answer_colours(cons, pruned)
    assert colours == {"42": PALETTE[0], "41": PALETTE[1]}
    groups = list(picture._groups(pruned, colours))
    assert [(name, shade) for name, shade, _ in groups[:2]] == [
        ("cluster 1", PALETTE[1]),
        ("cluster 2", PALETTE[0]),
    ]


@pytest.mark.parametrize("config", [ConsConfig(num_traces=40), DeepPruneConfig(num_traces=40)])
def test_every_launched_trace_has_exactly_one_lane(config):
    plans = [SimulatedTrace(str(i % 3), num_tokens=12 + i % 5) for i in range(40)]
    driver = Driver(make_policy(config, 0), plans, lambda a, b: float(a % 3 == b % 3))
    outcome = driver.run()
    drawn = [
        s
        for _, _, group in picture._groups(outcome, picture._answer_colours(outcome))
        for s in group
    ]
    assert sorted(drawn) == [end.sample for end in outcome.ends]


def test_a_trace_is_marked_where_its_checkpoint_fell():
    lanes = picture._lanes(sample_results.pruned(), {"42": PALETTE[0]})
    assert [lane.num_tokens for lane in lanes] == [110, 100, 32, 30, 10]
    assert [lane.checkpoint for lane in lanes] == [pytest.approx(30)] * 4 + [None]
    assert [lane.finished for lane in lanes] == [True, True, False, False, False]
