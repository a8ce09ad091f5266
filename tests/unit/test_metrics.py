import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tests.support.judge_training import made_pairs
from training.offline.cascade import cascade
from training.offline.evaluation import difference_within, evaluate
from training.offline.metrics import (
    auroc,
    bootstrap,
    calibration_curve,
    expected_calibration_error,
    mean_auroc,
    per_problem_auroc,
    precision_recall,
    roc_curve,
    threshold_at_fnr,
    tnr_at_fnr,
)

PAIRS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 9).map(lambda tenth: tenth / 9)), min_size=2
).filter(lambda rows: len({same for same, _ in rows}) == 2)


def arrays(rows):
    return np.array([same for same, _ in rows]), np.array([score for _, score in rows])


@given(PAIRS)
def test_auroc_is_that_of_scikit_learn_also_with_ties(rows):
    same, scores = arrays(rows)
    assert auroc(same, scores) == pytest.approx(reference.roc_auc_score(same, scores))


@given(PAIRS)
def test_the_area_under_our_roc_is_our_auroc(rows):
    same, scores = arrays(rows)
    misses, hits = roc_curve(same, scores)
    assert reference.auc(misses, hits) == pytest.approx(auroc(same, scores))
    assert (misses[0], hits[0], misses[-1], hits[-1]) == (0, 0, 1, 1)


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


def test_precision_and_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    same, taken = rng.random(50) < 0.6, rng.random(50) < 0.5
    expected = (reference.precision_score(same, taken), reference.recall_score(same, taken))
    assert precision_recall(same, taken) == pytest.approx(expected)


def test_calibration_by_hand():
    p = np.array([0.12, 0.18, 0.9, 1.0])
    same = np.array([False, True, True, True])
    assert calibration_curve(same, p) == [(pytest.approx(0.15), 0.5, 2), (0.95, 1.0, 2)]
    assert expected_calibration_error(same, p) == pytest.approx((0.35 + 0.05) / 2)


def test_whole_problems_are_drawn_again_not_pairs():
    problem = np.repeat(np.arange(4), [1, 5, 20, 3])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(problem))
    problem = problem[order]
    sizes = np.bincount(problem)
    seen = []

    def metric(index):
        drawn = np.bincount(problem[index], minlength=4)
        assert (drawn % sizes == 0).all()
        assert (drawn // sizes).sum() == 4
        seen.append(len(index))
        return float(len(index))

    low, high = bootstrap(metric, problem, num_draws=50)
    assert len(seen) == 50 and min(seen) <= low < high <= max(seen)


def test_the_interval_of_a_mean_is_about_right():
    rng = np.random.default_rng(1)
    values = rng.normal(size=200)
    low, high = bootstrap(lambda i: float(values[i].mean()), np.arange(200), num_draws=2000)
    half = 1.96 * values.std() / math.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_an_evaluation_holds_together():
    pairs = made_pairs(8, 10)
    rng = np.random.default_rng(0)
    p = np.clip(np.where(pairs.same, 0.7, 0.4) + rng.normal(0, 0.2, len(pairs)), 0.01, 0.99)
    found = evaluate(pairs, p, 0.5, num_draws=100)
    assert found.pooled.value == pytest.approx(reference.roc_auc_score(pairs.same, p))
    assert found.pooled.low < found.pooled.value < found.pooled.high
    assert found.within.low < found.within.value < found.within.high
    assert (found.num_problems, found.num_pairs) == (8, 8 * 45)
    assert found.num_within == len(per_problem_auroc(pairs.same, p, pairs.problem)) > 4
    better = difference_within(pairs, pairs.same.astype(float), p)
    assert better.low > 0


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_a_cascade_that_asks_nothing_is_the_cheap_judge_and_one_that_asks_of_all_uses_both(seed):
    rng = np.random.default_rng(seed)
    same = rng.random(200) < 0.6
    same[:2] = [True, False]
    problem = np.repeat(np.arange(4), 50)
    cheap = np.clip(0.6 + 0.1 * (same - 0.5) + rng.normal(0, 0.1, 200), 0.05, 0.95)
    dear = np.where(same, 0.999, 0.001)
    steps = cascade(same, cheap, dear, problem, base_rate=0.6, shares=(0, 0.5, 1))
    assert steps[0].pooled == pytest.approx(auroc(same, cheap))
    assert steps[0].accuracy == pytest.approx(((cheap > 0.5) == same).mean())
    assert steps[-1].accuracy == steps[-1].pooled == 1
    assert steps[0].accuracy <= steps[1].accuracy <= 1
