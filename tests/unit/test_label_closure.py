"""What the labels of some pairs say of all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.learners.label_closure import LabelClosure
from training.pairs.data import PairSet, Prefix


def labelled(num: int, *pairs: tuple[int, int, bool]) -> PairSet:
    prefixes = [Prefix("b", "b/0", "m", s, "?", "text", False) for s in range(num)]
    first, second, same = (np.array(column) for column in zip(*pairs, strict=True))
    return PairSet(prefixes, first, second, same, np.ones(len(pairs), dtype=np.int64))


def said(agreement: LabelClosure, one: int, other: int) -> bool | None:
    (same,), (known,) = agreement.of(np.array([one]), np.array([other]))
    return bool(same) if known else None


def test_what_is_implied_is_known_and_the_rest_is_not():
    agreement = LabelClosure(
        labelled(7, (0, 1, True), (2, 1, True), (3, 2, False), (3, 4, True), (5, 6, False))
    )
    assert said(agreement, 0, 2) is True, "both agree with 1"
    assert said(agreement, 4, 0) is False, "one agrees with 3, the other with 2"
    assert said(agreement, 0, 5) is None
    assert said(agreement, 6, 5) is False


def test_a_pairs_own_label_comes_first():
    agreement = LabelClosure(labelled(3, (0, 1, True), (1, 2, True), (2, 0, False)))
    assert said(agreement, 0, 2) is False
    assert said(agreement, 0, 1) is True


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.data())
def test_nothing_that_is_known_is_wrong(answers, data):
    num = len(answers)
    every = [(i, j) for i in range(num) for j in range(num) if i != j]
    shown = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    pairs = labelled(num, *((i, j, answers[i] == answers[j]) for i, j in shown))
    first, second = (np.array(column) for column in zip(*every, strict=True))
    same, known = LabelClosure(pairs).of(first, second)
    truth = np.array([answers[i] == answers[j] for i, j in every])
    np.testing.assert_array_equal(same[known], truth[known])
    told = {frozenset(pair) for pair in shown}
    assert all(known[place] for place, pair in enumerate(every) if frozenset(pair) in told)
