"""Pairs as token ids, and which of them a step sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.judges.padding import scoring_batches
from actors.models import load_prompt
from actors.tokenizer import load_tokenizer
from deepprune.config import JudgePrompt
from deepprune.errors import UserError
from training.learners.batches import PairEncoder, training_batches
from training.pairs.data import PairSet, Prefix

TOKENIZER = load_tokenizer("miniature/judge")
PROMPT = load_prompt("miniature/judge")
WORDS = st.lists(st.sampled_from(["so", "7 × 8", "wait", "then"]), max_size=30).map(" ".join)


def pair_set(texts: list[str], pairs: list[tuple[int, int]]) -> PairSet:
    prefixes = [Prefix("b", "b/1", "m", i, "What?", text, False) for i, text in enumerate(texts)]
    first, second = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    same = np.ones(len(pairs), dtype=np.bool_)
    return PairSet(prefixes, first, second, same, np.ones(len(pairs), dtype=np.int64))


@given(WORDS, WORDS, st.integers(6, 120))
def test_too_long_prefixes_lose_their_middle_and_are_counted(first, second, max_tokens):
    encoder = PairEncoder(PROMPT, TOKENIZER, max_tokens)
    ids = encoder.token_ids("What?", first, second)
    assert len(ids) <= max_tokens
    prompts = encoder.encode_all(pair_set([first, second], [(0, 1)]))
    assert list(prompts[0]) == ids
    assert prompts.lengths[0] == len(ids)
    whole = PairEncoder(PROMPT, TOKENIZER, 1000).token_ids("What?", first, second)
    assert (prompts.num_cut == 0) == (ids == whole)
    if len(whole) > max_tokens:
        assert len(ids) == max_tokens, "no room is wasted"


def test_the_start_and_the_end_of_a_long_prefix_are_kept():
    text = " ".join(str(i % 10) for i in range(60))
    tokens = TOKENIZER.encode(text, add_special_tokens=False)
    encoder = PairEncoder(PROMPT, TOKENIZER, 44)
    prompts = encoder.encode_all(pair_set([text, "so"], [(0, 1), (0, 0), (1, 1)]))
    assert prompts.num_cut == 3
    room = 44 - 4 - len(TOKENIZER.encode("so"))
    shown = list(prompts[0])[2 : 2 + room]
    end = room // 2
    assert shown == tokens[: room - end] + tokens[-end:]
    first, second = np.split(np.array(prompts[1])[2:-1], [20])
    assert list(first) == list(second[1:])


def test_a_tokenizer_without_the_answer_tokens_is_refused():
    prompt = JudgePrompt(template="{first}{second}", same_token="certainly", different_token="no")
    with pytest.raises(UserError, match="no single token for its answer 'certainly'"):
        PairEncoder(prompt, TOKENIZER, 100)


def test_a_template_that_leaves_no_room_is_refused():
    with pytest.raises(UserError, match="raise max_tokens"):
        PairEncoder(PROMPT, TOKENIZER, 4).token_ids("What?", "a", "b")


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 3)), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(1, 120),
    st.integers(0, 3),
)
def test_an_epoch_shows_every_pair_as_often_as_its_copies_say(pairs, size, num_batches, seed):
    lengths, copies = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    batches = list(training_batches(lengths, copies, size, num_batches, seed))
    assert [len(batch) for batch in batches] == [size] * num_batches
    shown = np.bincount(np.concatenate(batches), minlength=len(pairs))
    epochs = size * num_batches / copies.sum()
    # Batches run across the ends of epochs, so the last one may be begun.
    assert (shown >= np.floor(epochs) * copies - 50 * size).all()
    assert (shown <= np.ceil(epochs) * copies).all()


@given(st.integers(0, 40), st.integers(0, 5))
def test_a_training_taken_up_again_sees_the_same_batches(start, seed):
    lengths = np.arange(1, 80, dtype=np.int64)
    copies = np.where(lengths % 3 == 0, 2, 1)
    whole = list(training_batches(lengths, copies, 4, 60, seed))
    again = list(training_batches(lengths, copies, 4, 60, seed))[start:]
    assert all((a == b).all() for a, b in zip(whole[start:], again, strict=True))


@given(st.lists(st.integers(1, 900), max_size=50), st.integers(1, 2000))
def test_scoring_sees_every_pair_once_in_batches_that_fit(lengths, max_tokens):
    batches = list(scoring_batches(np.array(lengths, dtype=np.int64), max_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = -(-max(lengths[i] for i in batch) // 32) * 32
        assert len(batch) == 1 or longest * len(batch) <= max_tokens
