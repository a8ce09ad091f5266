import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprune import prefix_facts
from deepprune.errors import UserError
from deepprune.feature_judge import FeatureJudge, learn, learn_for_each, sampled
from deepprune.pair_features import feature_names, pair_features
from deepprune.prefix_facts import normalised, read_statements

PROBLEM = "A shop sells 3 apples for 2 euros. What do 12 apples cost?"
TEXTS = st.lists(
    st.sampled_from(
        [
            "So 12 / 3 = 4. ",
            "Wait, x = 8.5 + 1. ",
            "\\(y = \\frac{11}{2}\\) ",
            "The answer is 9. ",
            "</think> Thus 4 * 2 = 8. ",
            "\\boxed{8} ",
            "Option (B). ",
        ]
    ),
    max_size=6,
).map("".join)


def made(rng, num_problems=8, num_traces=8):
    """Problems whose traces compute one of two values, and say so; answers follow the value."""
    problems = []
    for number in range(num_problems):
        values = rng.choice([100 + number, 700 + 3 * number], num_traces)
        prefixes = [
            f"First, x = {value}. Filler {rng.integers(10)}. So it is {value}." for value in values
        ]
        problems.append((f"Problem {number}: find x.", prefixes, values))
    return problems


def sample_of(problem, prefixes, answers, known=None):
    first, second = np.triu_indices(len(prefixes), 1)
    return sampled(problem, prefixes, first, second, answers[first] == answers[second])


def test_a_number_is_known_by_its_value():
    assert normalised(r"\dfrac{11}{2}") == normalised("5.5") == "5.5"
    assert normalised("-9") == "-9"
    assert normalised(r"12\pi") == normalised("12π") == "12π"
    assert read_statements("It costs 28,800 or 28,\\!800 euros.").numbers.keys() == {"28800"}
    assert read_statements(r"\frac{1}{0}").numbers.keys() <= {"0", "1"}


def test_what_a_prefix_states():
    s = read_statements("Let \\(a = 3 + 4 = 7\\). Then b = 10.\nWait, so the total is 17.")
    assert s.claims == {"a": "7", "b": "10"}
    assert list(s.results) == ["3+4", "7", "10"]
    assert s.last_conclusion == "17" == s.candidate
    assert s.num_doubts == 1
    assert s.boxed is None and s.thought is None


def test_the_surest_sign_of_an_answer_counts():
    thought = "So x = 3, which gives 4.</think>\nStep 1: y = 9."
    assert read_statements(thought).candidate == "4"
    assert read_statements(thought + " \\boxed{12}").candidate == "12"


@given(st.text(max_size=400))
def test_any_text_can_be_read(text):
    read_statements(text)


class CountingPattern:
    """A regular expression that counts the characters it is given to scan."""

    def __init__(self, pattern: re.Pattern[str], counts: Counter[str]) -> None:
        self._pattern, self._counts = pattern, counts

    def __getattr__(self, name):
        method = getattr(self._pattern, name)

        def scan(*arguments):
            self._counts["characters"] += len(arguments[-1]) + 1
            return method(*arguments)

        return scan


@pytest.mark.parametrize(
    "piece", ["=", "\\boxed{", "1/", "-", "(", "a=", "\\frac{1", "9" * 50 + ".", "so 1. ", "a=1\n"]
)
def test_reading_takes_linear_time_also_of_hostile_text(monkeypatch, piece):
    counts = Counter()
    for name, value in list(vars(prefix_facts).items()):
        if isinstance(value, re.Pattern):
            monkeypatch.setattr(prefix_facts, name, CountingPattern(value, counts))
    scanned = []
    for num_pieces in (2_000, 4_000):
        counts.clear()
        read_statements(piece * num_pieces)
        scanned.append(counts["characters"])
    assert 0 < scanned[1] <= 2.1 * scanned[0]
    assert scanned[1] <= 20 * len(piece) * num_pieces


@settings(max_examples=15, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=5))
def test_features_are_symmetric_finite_and_of_the_two_prefixes_only(prefixes):
    features = pair_features(PROBLEM, prefixes)
    assert tuple(features) == feature_names()
    alone = pair_features(PROBLEM, prefixes[:2])
    for name, matrix in features.items():
        assert matrix.shape == (len(prefixes),) * 2
        assert np.isfinite(matrix).all()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        np.testing.assert_allclose(matrix[:2, :2], alone[name], atol=1e-9)
    for name, column in pair_features(PROBLEM, prefixes, slice(-1, None)).items():
        np.testing.assert_array_equal(column, features[name][:, -1:], err_msg=name)


def test_one_quantity_with_two_values_is_a_conflict():
    features = pair_features("p", ["m = 3", "m = 3", "m = 4"])
    assert features["claims_agree"][0, 1] > 0 == features["claims_agree"][0, 2]
    assert features["claims_differ"][0, 2] > 0 == features["claims_differ"][0, 1]


def test_it_learns_what_agreement_looks_like_on_other_problems():
    problems = made(np.random.default_rng(1))
    judge = learn([sample_of(*p) for p in problems])
    problem, prefixes, answers = made(np.random.default_rng(2), num_problems=9)[-1]
    scored = judge.score(problem, dict(enumerate(prefixes)))
    first, second = np.triu_indices(len(prefixes), 1)
    same = answers[first] == answers[second]
    p_same = scored.matrix[first, second]
    assert p_same[same].min() > p_same[~same].max()
    assert judge.calibration.auroc > 0.95
    np.testing.assert_allclose(scored.matrix, scored.matrix.T)


def test_one_prefix_is_compared_with_others_as_in_the_whole_table():
    problems = made(np.random.default_rng(1))
    judge = learn([sample_of(*p) for p in problems])
    problem, prefixes, _ = problems[0]
    scored = judge.score(problem, dict(enumerate(prefixes)))
    found = judge.p_same(problem, prefixes[:-1], prefixes[-1])
    np.testing.assert_allclose(found, scored.matrix[:-1, -1])
    assert judge.p_same(problem, [], prefixes[0]) == ()


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 7), st.randoms(use_true_random=False))
def test_no_problem_is_judged_by_its_own_answers(index, random):
    problems = made(np.random.default_rng(3))
    before = learn_for_each([sample_of(*p) for p in problems])[index]
    problem, prefixes, answers = problems[index]
    answers = np.array([random.randint(1, 3) for _ in answers])
    problems[index] = (problem, prefixes, answers)
    assert learn_for_each([sample_of(*p) for p in problems])[index] == before


def test_classes_sampled_apart_keep_their_weight():
    problem, prefixes, _ = made(np.random.default_rng(4), num_problems=1, num_traces=60)[0]
    answers = np.array([1] * 55 + [2] * 5)
    sample = sample_of(problem, prefixes, answers)
    first, second = np.triu_indices(60, 1)
    assert sample.weight.sum() == pytest.approx(1)
    assert sample.weight[sample.same].sum() == pytest.approx(
        (answers[first] == answers[second]).mean()
    )


def test_nothing_to_learn_from_makes_no_judge():
    problem, prefixes, _ = made(np.random.default_rng(5), num_problems=1)[0]
    alike = sample_of(problem, prefixes, np.ones(len(prefixes)))
    assert learn([]) is None
    assert learn([alike]) is None
    assert learn_for_each([alike]) == [None]


def test_it_is_saved_and_read_back(tmp_path):
    judge = learn([sample_of(*p) for p in made(np.random.default_rng(6))])
    judge.save(tmp_path / "judge")
    assert FeatureJudge.load(tmp_path / "judge") == judge


def test_a_folder_without_a_judge_is_refused(tmp_path):
    with pytest.raises(UserError, match="no feature judge"):
        FeatureJudge.load(tmp_path)


def test_a_judge_with_other_features_is_refused():
    judge = learn([sample_of(*p) for p in made(np.random.default_rng(7))])
    other = judge.model_copy(update={"names": ("length",)})
    with pytest.raises(UserError, match="other features"):
        other.score("p", {0: "a", 1: "b"})
