"""Wait for the usage reports of cancelled traces."""

from __future__ import annotations

import asyncio
import time

SETTLE_S = 1.0
"""Seconds to wait, after the vote, for the usage reports of cancelled traces."""


class Settlement:
    """The cancelled traces of a problem whose usage report has not arrived."""

    def __init__(self) -> None:
        self._cancelled_at: dict[int, float] = {}
        self._all_settled = asyncio.Event()
        self.cancel_lags_s: list[float] = []
        """Seconds from each decision to cancel to the last token generated after it."""

    @property
    def num_missing(self) -> int:
        """Reports that have not arrived."""
        return len(self._cancelled_at)

    def expect(self, sample: int) -> None:
        """Expect a report of a trace that is cancelled now."""
        self._cancelled_at[sample] = time.time()

    def settle(
        self, sample: int, num_tokens: int, recent: tuple[tuple[float, int], ...]
    ) -> int | None:
        """Take a report, and return the tokens generated after the decision to cancel.

        None for a trace that no report is expected of. `recent` has (unix time, tokens so far) of
        the trace's last engine outputs.
        """
        cancelled_at = self._cancelled_at.pop(sample, None)
        if cancelled_at is None:
            return None
        before = max((count for when, count in recent if when <= cancelled_at), default=num_tokens)
        last_output = recent[-1][0] if recent else cancelled_at
        self.cancel_lags_s.append(max(0.0, last_output - cancelled_at))
        if not self._cancelled_at:
            self._all_settled.set()
        return num_tokens - before

    async def wait(self) -> bool:
        """Wait for the missing reports; False if some have not arrived after `SETTLE_S`."""
        if not self._cancelled_at:
            return True
        try:
            await asyncio.wait_for(self._all_settled.wait(), SETTLE_S)
        except TimeoutError:
            return False
        return True
