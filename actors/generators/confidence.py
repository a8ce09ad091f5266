"""Measure the confidence of a trace (DeepConf).

Token confidence is minus the mean log-probability of the k likeliest tokens at a position; group
confidence is its mean over the last `window` tokens (Fu et al. 2025, "Deep Think with Confidence").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol


class FlatLogprobs(Protocol):
    """vLLM's log-probabilities of many positions in one list, with the bounds of each position."""

    start_indices: Sequence[int]
    end_indices: Sequence[int]
    logprobs: Sequence[float]


def token_confidences(logprobs: FlatLogprobs, top_k: int) -> Iterator[float]:
    """Yield the token confidence of each position. Its last k entries are its k likeliest tokens.

    vLLM puts the sampled token first, once more if it is among the k, unless it merged outputs.
    """
    for start, end in zip(logprobs.start_indices, logprobs.end_indices, strict=True):
        top = logprobs.logprobs[max(start, end - top_k) : end]
        yield -sum(top) / len(top)


class ConfidenceMeter:
    """Group confidence over a sliding window of one trace, whichever engines generate it.

    It is read when the window is full for the first time, every sixteenth of a window after that,
    and at the end of the trace, where the window of a short trace is the whole of it.
    """

    def __init__(self, window: int) -> None:
        self._stride = max(1, window // 16)
        self._window: deque[float] = deque(maxlen=window)
        self._sum = 0.0
        self._until_reading = window
        self._unread = False

    def take(self, confidences: Iterable[float], *, at_end: bool) -> tuple[float, ...]:
        """Add tokens, and return the readings; at the end of a trace, its last window too."""
        readings = []
        for confidence in confidences:
            if len(self._window) == self._window.maxlen:
                self._sum -= self._window[0]
            self._window.append(confidence)
            self._sum += confidence
            self._unread = True
            self._until_reading -= 1
            if self._until_reading == 0:
                readings.append(self._read())
                self._until_reading = self._stride
        if at_end and self._unread:
            readings.append(self._read())
        return tuple(readings)

    def _read(self) -> float:
        self._unread = False
        return self._sum / len(self._window)
