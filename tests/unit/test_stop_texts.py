from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from actors.generators.stop_texts import StopTexts


@given(
    st.text("abE", max_size=20),
    st.lists(st.integers(0, 20), max_size=4),
    st.sampled_from([("E",), ("EE",), ("ab", "EEa"), ("bEb",)]),
    st.integers(0, 20),
)
def test_a_stop_text_ends_a_trace_however_it_is_cut(text, cuts, stop, paused_at):
    """Also where it begins before a pause, in text that another request generated."""
    prefix = text[:paused_at]
    if any(word in prefix for word in stop):
        return  # it had ended before the pause
    watch, found = StopTexts(stop, prefix), None
    edges = sorted({len(prefix), len(text), *(c for c in cuts if len(prefix) <= c <= len(text))})
    for start, end in pairwise(edges):
        found = watch.find(text[start:end])
        if found is not None:
            break
    first = min((at for word in stop if (at := text.find(word)) >= 0), default=None)
    if first is None:
        assert found is None
    else:
        assert found is not None
        assert not any(word in text[:found] for word in stop)
        assert any(text.startswith(word, found) for word in stop)
