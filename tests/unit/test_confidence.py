from __future__ import annotations

from itertools import accumulate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.generators.confidence import ConfidenceMeter, token_confidences


def flat(*positions: list[float]) -> SimpleNamespace:
    """Log-probabilities as vLLM lays them out: the sampled token, then the likeliest."""
    ends = list(accumulate(map(len, positions)))
    return SimpleNamespace(
        start_indices=[0, *ends[:-1]] if ends else [],
        end_indices=ends,
        logprobs=[logprob for position in positions for logprob in position],
    )


def test_the_confidence_of_a_token_is_the_mean_over_its_likeliest():
    assert list(token_confidences(flat([-9.0, -1.0, -2.0]), 2)) == [1.5], "the first is not one"
    listed = flat([-2.0, -1.0, -2.0], [-2.0, -1.0])
    assert list(token_confidences(listed, 2)) == [1.5, 1.5], "it is one, listed twice or once"


def test_readings_begin_when_the_window_is_full_and_follow_every_sixteenth():
    meter = ConfidenceMeter(window=32)
    assert meter.take([1.0] * 31, at_end=False) == ()
    assert meter.take([33.0], at_end=False) == (2.0,)
    assert meter.take([1.0], at_end=False) == ()
    assert meter.take([1.0], at_end=False) == (2.0,)
    assert meter.take([33.0], at_end=True) == (pytest.approx(3.0),), "the last window"
    assert meter.take([], at_end=True) == ()


def test_a_trace_shorter_than_the_window_is_read_once_as_a_whole():
    meter = ConfidenceMeter(window=2048)
    assert meter.take([1.0, 2.0, 6.0], at_end=False) == ()
    assert meter.take([], at_end=True) == (3.0,)
    assert ConfidenceMeter(window=8).take([], at_end=True) == ()


@given(
    st.lists(st.floats(0, 50), max_size=200),
    st.integers(1, 64),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_readings_are_where_the_schema_says_however_the_tokens_arrive(values, window, chunks):
    meter, readings, start = ConfidenceMeter(window), [], 0
    for size in [*chunks, len(values)]:
        readings.extend(meter.take(values[start : start + size], at_end=False))
        start += size
    readings.extend(meter.take((), at_end=True))
    places = list(range(window, len(values) + 1, max(1, window // 16)))
    if values and (not places or places[-1] != len(values)):
        places.append(len(values))
    means = [sum(values[max(0, p - window) : p]) / min(p, window) for p in places]
    assert readings == pytest.approx(means, abs=1e-6)
