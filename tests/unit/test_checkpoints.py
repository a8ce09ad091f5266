"""Checkpoints do not mind how a trace is cut into chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.checkpoints import CheckpointSpec, detector, truncate

WORDS = st.sampled_from(["wait", "Wait", "waiting", "so", "sow", "x", "\\boxed{1}", "thus,", "é"])
TEXTS = st.lists(WORDS, max_size=30).map(" ".join)


def cut_of(chunks, spec):
    watch = detector(spec)
    for chunk in chunks:
        if cut := watch.feed(chunk, 1):
            return cut
    return watch.finish()


@pytest.mark.parametrize("text", ["tokens:1", "tokens:500", "reasoning_words:25"])
def test_a_specification_reads_as_it_is_written(text):
    assert str(CheckpointSpec.parse(text)) == text


@pytest.mark.parametrize("text", ["", "tokens", "tokens:0", "tokens:-3", "words:3", "tokens:٣"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="write tokens:K or reasoning_words:W"):
        CheckpointSpec.parse(text)


@given(TEXTS, st.integers(1, 5), st.data())
def test_the_cut_does_not_depend_on_the_chunks(text, count, data):
    spec = CheckpointSpec.parse(f"reasoning_words:{count}")
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    edges = [0, *borders, len(text)]
    chunks = [text[a:b] for a, b in pairwise(edges)]
    whole, parts = cut_of([text], spec), cut_of(chunks, spec)
    assert (whole and whole.num_chars) == (parts and parts.num_chars)
    prefix = truncate(text, spec)
    assert prefix == (None if whole is None else text[: whole.num_chars])


@pytest.mark.parametrize(
    ("chunks", "num_chars"),
    [
        (["wa", "it", " a"], 4),
        (["wait", "ing", " wait", "."], 12),
        (["so", "w", " x"], None),
        (["wait"], 4),
        (["Hmm, WAIT\n"], 3),
    ],
)
def test_a_word_counts_once_its_end_is_seen(chunks, num_chars):
    cut = cut_of(chunks, CheckpointSpec.parse("reasoning_words:1"))
    assert (cut and cut.num_chars) == num_chars


def test_the_words_can_be_chosen():
    spec = CheckpointSpec.parse("reasoning_words:2", words=["Foo"])
    assert truncate("foo wait foo bar", spec) == "foo wait foo"


@given(st.integers(1, 20), st.integers(0, 30))
def test_tokens_are_counted_exactly_one_by_one(count, length):
    watch = detector(CheckpointSpec.parse(f"tokens:{count}"))
    cuts = [cut for _ in range(length) if (cut := watch.feed("ab", 1))]
    if length < count:
        assert cuts == []
        assert watch.finish() is None
    else:
        (cut,) = cuts
        assert (cut.num_tokens, cut.num_chars) == (count, 2 * count)


def test_a_recorded_text_is_cut_by_characters_per_token():
    spec = CheckpointSpec.parse("tokens:2")
    assert truncate("abcdefgh", spec, chars_per_token=2) == "abcd"
    assert truncate("abcd", spec, chars_per_token=2) is None
