"""Intervals of means, differences and ratios, by bootstrap."""

import numpy as np
import pytest

from deepprune import statistics
from deepprune.statistics import Estimate


def test_a_constant_has_no_spread():
    assert statistics.mean(np.full(7, 0.25)) == Estimate(0.25, 0.25, 0.25)


def test_two_problems_of_which_one_is_right_may_be_anything():
    assert statistics.mean(np.array([0.0, 1.0])) == Estimate(0.5, 0.0, 1.0)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(10, 2, size=400)
    estimate = statistics.mean(values)
    error = values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_a_paired_difference_does_not_see_how_hard_problems_are():
    hard = np.array([0.0, 0.2, 0.9, 0.5])
    estimate = statistics.difference(hard + 0.1, hard)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))


def test_a_paired_ratio_is_one_of_sums():
    tokens = np.array([100.0, 10_000.0, 50.0])
    estimate = statistics.ratio(tokens / 4, tokens)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.25, 0.25, 0.25))
    assert statistics.ratio(np.array([1.0, 30.0]), np.array([10.0, 90.0])).value == 0.31


def test_what_is_unknown_is_left_out():
    nan = float("nan")
    assert statistics.mean(np.array([nan, 3.0, nan])).value == 3.0
    assert statistics.mean(np.array([nan])) is None
    assert statistics.difference(np.array([1.0, nan]), np.array([nan, 1.0])) is None
    assert statistics.ratio(np.array([1.0]), np.array([0.0])) is None


def test_it_is_the_same_every_time():
    values = np.random.default_rng(2).random(30)
    first = statistics.mean(values)
    statistics.draws.cache_clear()
    assert statistics.mean(values) == first
