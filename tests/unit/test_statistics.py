"""Ranking, calibration, thresholds, intervals and cascades of judges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from deepprune import statistics
from deepprune.statistics import (
    LEAST_SLOPE,
    Platt,
    auroc,
    calibration_curve,
    calibration_error,
    draws,
    fit_platt,
    log_odds,
    mean,
    mean_auroc,
    per_problem_auroc,
    pooled_ranking,
    sigmoid,
    threshold_at_fnr,
    tnr_at_fnr,
)
from tests.support.judge_training import made_pairs
from training.offline.cascade import cascade
from training.offline.evaluation import evaluate

PAIRS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9).map(lambda tenth: tenth / 9)), min_size=2
).filter(lambda rows: len({same for same, _ in rows}) == 2)


def arrays(rows):
    return np.array([same for same, _ in rows]), np.array([score for _, score in rows])


@given(PAIRS, st.floats(0, 0.99))
def test_no_threshold_loses_more_agreeing_pairs_than_allowed(rows, fnr):
    same, scores = arrays(rows)
    threshold = threshold_at_fnr(same, scores, fnr)
    assert (scores[same] < threshold).mean() <= fnr + 1e-9
    higher = scores[same][scores[same] > threshold]
    if len(higher):
        assert (scores[same] < higher.min()).mean() > fnr


def test_tnr_by_hand():
    same = np.array([True] * 5 + [False] * 4)
    scores = np.array([0.1, 0.5, 0.6, 0.7, 0.9, 0.2, 0.4, 0.5, 0.8])
    # One of five may be lost, so the threshold is 0.5: 0.2 and 0.4 lie below it.
    assert tnr_at_fnr(same, scores, 0.2) == 0.5
    assert tnr_at_fnr(same, scores, 0.0) == 0


def test_one_class_alone_has_no_figure():
    same, scores = np.array([True, True]), np.array([0.1, 0.2])
    assert math.isnan(auroc(same, scores)) and math.isnan(tnr_at_fnr(same, scores))


def test_a_judge_that_knows_only_which_problems_are_easy_fails_within():
    problem = np.repeat([0, 1], 20)
    same = np.array([True] * 15 + [False] * 5 + [True] * 5 + [False] * 15)
    scores = np.where(problem == 0, 0.9, 0.1)
    assert auroc(same, scores) == 0.75
    assert mean_auroc(same, scores, problem) == 0.5


def test_problems_with_too_few_pairs_of_a_class_are_left_out():
    problem = np.array([0] * 10 + [1] * 10)
    same = np.array([True] * 5 + [False] * 5 + [True] * 6 + [False] * 4)
    assert per_problem_auroc(same, same.astype(float), problem) == {0: 1.0}


def test_calibration_by_hand():
    p = np.array([0.12, 0.18, 0.9, 1.0])
    same = np.array([False, True, True, True])
    assert calibration_curve(same, p) == [(pytest.approx(0.15), 0.5, 2), (0.95, 1.0, 2)]
    assert calibration_error(same, p) == pytest.approx((0.35 + 0.05) / 2)


def test_whole_problems_are_drawn_again_not_pairs(monkeypatch):
    few = draws(4)[:100]
    monkeypatch.setattr(statistics, "draws", lambda num: few)
    rng = np.random.default_rng(0)
    problem = rng.permutation(np.repeat([3, 4, 7, 9], [10, 50, 20, 30]))
    same = rng.random(len(problem)) < 0.6
    scores = np.round(0.3 * same + rng.random(len(problem)), 1)
    weights = few[:, np.unique(problem, return_inverse=True)[1]]
    aurocs = [auroc(same, scores, weight) for weight in weights]
    copies = [np.repeat(np.arange(len(problem)), weight.astype(int)) for weight in weights]
    tnrs = [tnr_at_fnr(same[i], scores[i], 0.2) for i in copies]
    pooled, tnr = pooled_ranking(same, scores, problem, 0.2)
    for estimate, resampled in ((pooled, aurocs), (tnr, tnrs)):
        expected = np.nanquantile(resampled, [0.025, 0.975])
        assert (estimate.low, estimate.high) == pytest.approx(tuple(expected))
    assert (pooled.value, tnr.value) == (auroc(same, scores), tnr_at_fnr(same, scores, 0.2))


def test_a_draw_without_one_of_the_classes_has_no_figure():
    same = np.array([True] * 3 + [True, False])
    pooled, tnr = pooled_ranking(same, np.arange(5.0), np.array([0, 0, 0, 1, 1]), 0.2)
    assert all(0 <= e.low <= e.high <= 1 for e in (pooled, tnr))


def test_the_interval_of_a_mean_is_about_right():
    rng = np.random.default_rng(1)
    values = rng.normal(size=200)
    found = mean(values)
    half = 1.96 * values.std() / math.sqrt(200)
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_an_evaluation_holds_together():
    pairs = made_pairs(8, 10)
    rng = np.random.default_rng(0)
    p = np.clip(np.where(pairs.same, 0.7, 0.4) + rng.normal(0, 0.2, len(pairs)), 0.01, 0.99)
    found = evaluate(pairs, p, 0.5)
    assert found.pooled.value == pytest.approx(reference.roc_auc_score(pairs.same, p))
    assert found.pooled.low < found.pooled.value < found.pooled.high
    assert found.within.low < found.within.value < found.within.high
    assert (found.num_problems, found.num_pairs) == (8, 8 * 45)
    assert found.num_within == len(per_problem_auroc(pairs.same, p, pairs.problem)) > 4
    taken = p > 0.5
    expected = (
        reference.precision_score(pairs.same, taken),
        reference.recall_score(pairs.same, taken),
    )
    assert (found.precision, found.recall) == expected
    assert reference.auc(*found.roc) == pytest.approx(found.pooled.value)


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_a_cascade_that_asks_nothing_is_the_cheap_judge_and_one_that_asks_of_all_uses_both(seed):
    rng = np.random.default_rng(seed)
    same = rng.random(200) < 0.6
    same[:2] = [True, False]
    problem = np.repeat(np.arange(4), 50)
    cheap = np.clip(0.6 + 0.1 * (same - 0.5) + rng.normal(0, 0.1, 200), 0.05, 0.95)
    expensive = np.where(same, 0.999, 0.001)
    steps = cascade(same, log_odds(cheap), log_odds(expensive), problem, 0.6, shares=(0, 0.5, 1))
    assert steps[0].pooled == pytest.approx(auroc(same, cheap))
    assert steps[0].accuracy == pytest.approx(((cheap > 0.5) == same).mean())
    assert steps[-1].accuracy == steps[-1].pooled == 1
    assert steps[0].accuracy <= steps[1].accuracy <= 1


# --- Platt scaling ------------------------------------------------------------------------------


def drawn(slope: float, shift: float, num: int = 4000, seed: int = 0):
    """Log-odds of pairs that agree as often as slope and shift say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.5, 1.5, num)
    return logits, rng.random(num) < sigmoid(slope * logits + shift)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 3), st.floats(-1, 1), st.integers(0, 99))
def test_what_the_scores_mean_is_found(slope, shift, seed):
    found = fit_platt(*drawn(slope, shift, seed=seed))
    assert found.slope == pytest.approx(slope, rel=0.25, abs=0.1)
    assert found.shift == pytest.approx(shift, abs=0.4)


def test_a_focal_loss_is_undone():
    """It shifts log-odds by log(alpha / (1 - alpha)), and draws them together."""
    logits, same = drawn(1.0, 0.0, num=20000)
    squeezed = 0.5 * logits + np.log(0.25 / 0.75)
    p = sigmoid(fit_platt(squeezed, same).logits(squeezed))
    for low in np.arange(0.1, 0.9, 0.1):
        inside = (p > low) & (p <= low + 0.1)
        assert same[inside].mean() == pytest.approx(p[inside].mean(), abs=0.04)


@given(st.booleans(), st.integers(0, 20))
def test_one_class_says_nothing(value, num):
    assert fit_platt(np.linspace(-1, 1, num), np.full(num, value)) == Platt()


def test_a_judge_that_is_worse_than_chance_counts_next_to_nothing():
    logits, same = drawn(-1.0, 0.3)
    found = fit_platt(logits, same)
    assert found.slope == LEAST_SLOPE
    p = sigmoid(found.logits(logits))
    np.testing.assert_allclose(p, same.mean(), atol=0.03)
    assert auroc(same, p) == auroc(same, logits)


def test_pairs_that_are_told_apart_perfectly_do_not_give_a_certain_judge():
    logits = np.array([-2.0, -1.5, 1.0, 1.5, 2.0])
    found = fit_platt(logits, logits > 0)
    assert found.slope < 20
