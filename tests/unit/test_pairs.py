"""From traces to labelled pairs: what must hold whatever the traces say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprune.errors import UserError
from training.config import PairsConfig, load
from training.pairs.data import SPLITS, problem_key
from training.pairs.pair_up import Excluded, agreement, pair_up, prefixes_of, split_problems

ANSWERS = st.sampled_from(["5", "5.0", "\\frac{10}{2}", "6", "x", "B", "(B)"])


def trace(sample: int = 0, text: str = "so 2 + 3 is 5", answer: str | None = "5", **more) -> dict:
    return {
        "problem_id": "b/1",
        "problem": "What?",
        "model": "m",
        "sample": sample,
        "text": text,
        "answer": answer,
        **more,
    }


def prefixes(answers, config: PairsConfig | None = None) -> list[dict]:
    config = config or PairsConfig(checkpoints=["reasoning_words:1"])
    return [
        prefix
        for sample, answer in enumerate(answers)
        for prefix in prefixes_of(trace(sample, answer=answer), config)[0]
    ]


@settings(deadline=None)  # the first algebra starts a process
@given(st.lists(ANSWERS, max_size=9))
def test_every_two_traces_are_one_pair_and_labels_are_symmetric(answers):
    config = PairsConfig()
    pairs = pair_up(prefixes(answers), config, "train").to_pylist()
    found = [frozenset((row["first"], row["second"])) for row in pairs]
    assert sorted(map(sorted, found)) == [
        list(p) for p in itertools.combinations(range(len(answers)), 2)
    ]
    same = agreement(answers)
    assert (same == same.T).all()
    assert same.diagonal().all()
    for row in pairs:
        assert row["same"] == same[row["first"], row["second"]]


@settings(deadline=None)
@given(st.lists(ANSWERS, min_size=2, max_size=9), st.randoms(), st.integers(2, 20), st.booleans())
def test_pairs_depend_on_seed_and_problem_and_not_on_the_order_of_rows(answers, rng, cap, balanced):
    config = PairsConfig(pairs_per_problem=cap, balanced=balanced)
    rows = prefixes(answers)
    expected = pair_up(rows, config, "train")
    shuffled = rng.sample(rows, len(rows))
    assert pair_up(shuffled, config, "train").equals(expected)
    assert expected.num_rows <= cap
    if balanced:
        same = np.array(expected["same"])
        assert max(same.sum(), (~same).sum()) <= cap // 2


def test_a_coin_decides_the_order_in_training_only():
    rows = prefixes(["5"] * 12)
    for split in SPLITS:
        pairs = pair_up(rows, PairsConfig(), split)
        swapped = np.array(pairs["first"]) > np.array(pairs["second"])
        assert 0 < swapped.mean() < 1 if split == "train" else not swapped.any()


def test_another_seed_draws_other_pairs():
    rows = prefixes(["5", "6"] * 10)
    drawn = [pair_up(rows, PairsConfig(pairs_per_problem=20, seed=s), "test") for s in (0, 1)]
    assert not drawn[0].equals(drawn[1])


@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=40),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.randoms(),
)
def test_a_problem_is_on_one_side_of_a_split_whatever_it_is_called(texts, validation, test, rng):
    config = PairsConfig(validation=validation, test=test)
    # The same text under two names, as one problem may be in two benchmarks.
    keys = [problem_key(f"{b}/{i}", text) for b in "ab" for i, text in enumerate(texts)]
    splits = split_problems(keys, config)
    assert splits == split_problems(rng.sample(keys, len(keys)), config)
    for text in filter(str.split, texts):
        assert len({splits[problem_key(f"{b}/0", text)] for b in "ab"}) == 1
    counts = [sum(split == name for split in splits.values()) for name in SPLITS]
    assert sum(counts) == len(set(keys))
    assert counts[2] == round(test * len(set(keys)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answer": None}, Excluded.NO_ANSWER),
        ({"answer": " "}, Excluded.NO_ANSWER),
        ({"finish_reason": "length"}, Excluded.CUT_OFF),
        ({"fate": "cancelled_after_checkpoint"}, Excluded.NOT_FINISHED),
        ({"fate": "lost", "text": None}, Excluded.NOT_FINISHED),
    ],
)
def test_invalid_traces_are_in_no_pair_and_said_why(change, reason):
    assert prefixes_of(trace() | change, PairsConfig()) == ([], [reason])


def test_a_short_trace_is_judged_whole_or_left_out():
    whole, _ = prefixes_of(trace(text="short"), PairsConfig(checkpoints=["tokens:500"]))
    assert (whole[0]["prefix"], whole[0]["ended"]) == ("short", True)
    config = PairsConfig(checkpoints=["tokens:1", "tokens:500"], short_traces="exclude")
    found, reasons = prefixes_of(trace(text="short"), config)
    assert [prefix["checkpoint"] for prefix in found] == ["tokens:1"]
    assert reasons == [Excluded.SHORT]


def test_pairs_know_whether_both_traces_were_unfinished():
    rows = prefixes(["5", "5", "5"])
    rows[1]["ended"] = True
    pairs = pair_up(rows, PairsConfig(), "test").to_pylist()
    assert [row["unfinished"] for row in pairs] == [False, True, False]


@settings(max_examples=20)
@given(st.integers(0, 5))
def test_fewer_than_two_traces_make_no_pair(seed):
    for rows in ([], prefixes(["5"])):
        assert pair_up(rows, PairsConfig(seed=seed), "train").num_rows == 0


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"validation": 0.6, "test": 0.6}, "more than all problems"),
        ({"balanced": True}, "balanced needs pairs_per_problem"),
        ({"balanced": True, "pairs_per_problem": 1}, "2 or more"),
        ({"checkpoints": ["soon"]}, "soon"),
        ({"checkpoints": ["tokens:5", "tokens:5"]}, "named twice"),
        ({"oversampling": 0}, "oversampling"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_impossible_settings_are_refused(given_, words):
    with pytest.raises(UserError, match=words):
        load(PairsConfig, None, given_)
