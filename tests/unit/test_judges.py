from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from deepprune.judges import calibrate, noisy, oracle, recorded, similarity, tfidf

untimed = settings(deadline=None, max_examples=40)
answers_of = st.lists(st.sampled_from(["7", "1", "2", None]), min_size=2, max_size=12)


def numbered(answers: list[str | None]) -> dict[int, str | None]:
    return {sample * 3: answer for sample, answer in enumerate(answers)}


def labels(answers: dict[int, str | None]) -> np.ndarray:
    given = list(answers.values())
    return np.array([[a is not None and a == b for b in given] for a in given])


@given(answers_of)
def test_an_oracle_says_which_answers_are_equal_and_none_is_like_no_other(answers):
    known = numbered(answers)
    scored = oracle(known)
    assert scored.reads == "nothing"
    for second in known:
        others = [sample for sample in known if sample != second]
        for first, p in zip(others, scored.p_same(second, others), strict=True):
            assert (p > 0.5) == (known[first] is not None and known[first] == known[second])


@pytest.mark.parametrize("auroc", [0.5, 0.6, 0.75, 0.9, 0.97])
def test_a_blurred_oracle_has_the_auroc_it_was_blurred_to(auroc):
    known = numbered(["7"] * 240 + ["1"] * 240)
    truth = labels(known)
    upper = np.triu_indices(len(known), 1)
    measured = [
        roc_auc_score(truth[upper], noisy(known, auroc, 0.5, seed).matrix[upper])
        for seed in range(4)
    ]
    assert np.mean(measured) == pytest.approx(auroc, abs=0.02)


def test_a_blurred_oracle_means_what_it_says():
    known = numbered(["7"] * 300 + ["1"] * 100)
    truth = labels(known)
    upper = np.triu_indices(len(known), 1)
    base_rate = truth[upper].mean()
    p = np.concatenate([noisy(known, 0.85, base_rate, s, shared=0).matrix[upper] for s in range(3)])
    same = np.tile(truth[upper], 3)
    for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
        inside = (p > low) & (p < high)
        assert p[inside].mean() == pytest.approx(same[inside].mean(), abs=0.03)


@pytest.mark.parametrize("base_rate", [0.0, 1.0])
def test_where_all_pairs_or_none_agree_a_blurred_oracle_still_speaks(base_rate):
    scored = noisy(numbered(["7", "1", "2"]), 0.8, base_rate, 0)
    assert ((scored.matrix > 0) & (scored.matrix < 1)).all()


@untimed
@given(answers_of, st.integers(0, 99))
def test_every_judge_says_the_same_of_a_pair_in_either_order(answers, seed):
    known = numbered(answers)
    texts = {sample: f"{answer} and then {sample % 4} so" for sample, answer in known.items()}
    vectors = np.random.default_rng(seed).normal(size=(len(known), 5))
    for scored in (oracle(known), noisy(known, 0.8, 0.6, seed), tfidf(texts)):
        assert scored.samples == tuple(known)
        np.testing.assert_allclose(scored.matrix, scored.matrix.T)
    np.testing.assert_allclose(
        similarity(tuple(known), vectors).matrix, similarity(tuple(known), vectors).matrix.T
    )


def test_recorded_scores_serve_for_both_orders_and_a_missing_pair_is_named():
    first, second = np.array([4, 9, 5]), np.array([7, 4, 4])  # 5 is none of the samples
    scored = recorded([4, 9, 7], first, second, np.array([0.25, 0.75, 0.5]))
    assert scored.p_same(7, [4]) == [0.25]
    assert scored.p_same(4, [7, 9]) == [0.25, 0.75]
    with pytest.raises(KeyError, match="samples 7 and 9"):
        scored.p_same(9, [7])


# --- calibration --------------------------------------------------------------------------------


def problems(num: int, seed: int, auroc: float = 0.85):
    rng = np.random.default_rng(seed)
    known = [numbered(list(rng.choice(["7", "1", "2"], 16, p=[0.6, 0.3, 0.1]))) for _ in range(num)]
    return [noisy(answers, auroc, 0.5, seed + i) for i, answers in enumerate(known)], known


def test_no_problem_is_calibrated_by_its_own_answers():
    pairs, known = problems(10, 3)
    before = calibrate(pairs, known)
    for problem in range(10):
        changed = list(known)
        changed[problem] = dict.fromkeys(known[problem], "7")
        assert calibrate(pairs, changed)[problem] == before[problem]
    assert calibrate(pairs, [dict.fromkeys(of, "7") for of in known]) != before


def test_a_calibration_learns_base_rate_auroc_and_what_scores_mean():
    pairs, known = problems(40, 5)
    truth = [labels(of)[np.triu_indices(16, 1)] for of in known]
    found = calibrate(pairs, known)
    assert len(found) == 40
    for calibration in found:
        assert calibration.base_rate == pytest.approx(np.mean(truth), abs=0.05)
        assert calibration.auroc == pytest.approx(0.85, abs=0.05)
    applied = [c.apply(p).matrix[np.triu_indices(16, 1)] for c, p in zip(found, pairs, strict=True)]
    p, same = np.concatenate(applied), np.concatenate(truth)
    for low, high in ((0.0, 0.35), (0.35, 0.65), (0.65, 1.0)):
        inside = (p > low) & (p < high)
        assert p[inside].mean() == pytest.approx(same[inside].mean(), abs=0.06)


@pytest.mark.parametrize("answer", ["7", None])
def test_where_nothing_can_be_learned_scores_stay_as_they_are(answer):
    pairs, known = problems(3, 1)
    known = [dict.fromkeys(of, answer) for of in known]
    for scored, calibration in zip(pairs, calibrate(pairs, known), strict=True):
        np.testing.assert_allclose(calibration.apply(scored).matrix, scored.matrix, atol=1e-5)


def test_one_problem_alone_cannot_be_calibrated():
    pairs, known = problems(1, 1)
    (calibration,) = calibrate(pairs, known)
    assert (calibration.slope, calibration.intercept) == (1.0, 0.0)
