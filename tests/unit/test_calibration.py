"""Platt scaling: log-odds become P(same)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.offline.calibration import LEAST_SLOPE, Platt, calibrated, sigmoid
from training.offline.metrics import auroc


def drawn(slope: float, shift: float, num: int = 4000, seed: int = 0):
    """Log-odds of pairs that agree as often as slope and shift say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.5, 1.5, num)
    return logits, rng.random(num) < sigmoid(slope * logits + shift)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 3), st.floats(-1, 1), st.integers(0, 99))
def test_what_the_scores_mean_is_found(slope, shift, seed):
    found = calibrated(*drawn(slope, shift, seed=seed))
    assert found.slope == pytest.approx(slope, rel=0.25, abs=0.1)
    assert found.shift == pytest.approx(shift, abs=0.4)


def test_a_focal_loss_is_undone():
    """It shifts log-odds by log(alpha / (1 - alpha)), and draws them together."""
    logits, same = drawn(1.0, 0.0, num=20000)
    squeezed = 0.5 * logits + np.log(0.25 / 0.75)
    p = sigmoid(calibrated(squeezed, same).logits(squeezed))
    for low in np.arange(0.1, 0.9, 0.1):
        inside = (p > low) & (p <= low + 0.1)
        assert same[inside].mean() == pytest.approx(p[inside].mean(), abs=0.04)


@given(st.booleans(), st.integers(0, 20))
def test_one_class_says_nothing(value, num):
    assert calibrated(np.linspace(-1, 1, num), np.full(num, value)) == Platt()


def test_a_judge_that_is_worse_than_chance_counts_next_to_nothing():
    logits, same = drawn(-1.0, 0.3)
    found = calibrated(logits, same)
    assert found.slope == LEAST_SLOPE
    p = sigmoid(found.logits(logits))
    np.testing.assert_allclose(p, same.mean(), atol=0.03)
    assert auroc(same, p) == auroc(same, logits)


def test_pairs_that_are_told_apart_perfectly_do_not_give_a_certain_judge():
    logits = np.array([-2.0, -1.5, 1.0, 1.5, 2.0])
    found = calibrated(logits, logits > 0)
    assert found.slope < 20
