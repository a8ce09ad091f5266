"""Find new lows in a trace's recorded group confidence (DeepConf, Fu et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence


def lows(
    confidence: Sequence[float] | None, window: int | None, num_tokens: int
) -> tuple[tuple[int, float], ...]:
    """Return (tokens, group confidence) of each reading lower than all before it.

    The first reading is after `window` tokens, then one every sixteenth of a window, the last at
    the end.
    """
    found: list[tuple[int, float]] = []
    for index, reading in enumerate(confidence or () if window else ()):
        assert window is not None
        if not found or reading < found[-1][1]:
            tokens = window + index * max(1, window // 16)
            found.append((min(tokens, num_tokens), reading))
    return tuple(found)
