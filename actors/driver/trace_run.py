"""Generate one trace on to its checkpoint or its end, on as many engines as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from actors.driver.live_trace import LiveTrace
from actors.messages import Busy, EngineGone, Generators, TraceRequest, TraceUpdate

logger = logging.getLogger(__name__)

BACK_OFF_S = 0.5
MOST_BACK_OFF_S = 60.0


class TraceRun:
    """One run of a trace: from where it stands to its checkpoint, its end, or its abort.

    Args:
        trace: takes the updates.
        make_request: makes the request for the rest of the trace.
        generators: generate it.
        retries: engines that may die in a row without a token in between.
    """

    def __init__(
        self,
        trace: LiveTrace,
        make_request: Callable[[], TraceRequest],
        generators: Generators,
        retries: int,
    ) -> None:
        self.trace = trace
        self.has_ended = False
        """Whether the engine has ended the request."""
        self.paused = False
        """Whether it has reached the checkpoint and stopped there."""
        self.cancel_lag_s: float | None = None
        """Seconds from the abort to the end of the engine's request."""
        self._make_request = make_request
        self._generators = generators
        self._retries = retries
        self._request: TraceRequest | None = None
        self._abort = asyncio.Event()
        self._aborted_at = 0.0
        self._tokens_at_abort = 0

    def abort(self) -> None:
        """End the run soon: `updates` ends with what was generated until then."""
        if self._abort.is_set() or self.has_ended:
            return
        self._abort.set()
        self._aborted_at = time.monotonic()
        heard = self._generators.abort(self._request.request_id) if self._request else 0
        self._tokens_at_abort = max(self.trace.num_tokens, heard)

    def close_thought(self) -> None:
        """Interrupt the engine's request; the next one closes the thought, if the trace is in one.

        It has no effect on a trace whose thought is closed, or that has ended.
        """
        if self.has_ended or self.trace.closing:
            return
        self.trace.closing = True
        if self._request is not None:
            self._generators.abort(self._request.request_id)

    @property
    def late_tokens(self) -> int:
        """Tokens generated after the abort, and up to 50 ms before, since the last report."""
        return self.trace.num_tokens - self._tokens_at_abort if self._abort.is_set() else 0

    async def updates(self) -> AsyncGenerator[tuple[TraceUpdate, tuple[float, ...]]]:
        """Yield each update, taken into the trace, with its readings of confidence.

        Raises:
            EngineGone: too many engines died in a row.
            RequestRefused, UserError: a retry would fail too.
        """
        failures = 0
        while not self._abort.is_set():
            request = self._request = self._make_request()
            had, was_closing = self.trace.num_tokens, self.trace.closing
            gone = EngineGone("the stream ended before the trace did")
            try:
                async with aclosing(self._generators.stream(request)) as updates:
                    async for update in updates:
                        readings = self.trace.take(update)
                        at_checkpoint = update.prefix_chars is not None and request.pause
                        self.paused = at_checkpoint and self.trace.finish_reason is None
                        yield update, readings
            except EngineGone as error:
                gone = error
            if self.paused or self.trace.finish_reason or self._abort.is_set():
                break
            if self.trace.closing and not was_closing:
                continue
            logger.warning("%s: %s", request.request_id, gone)
            self.trace.num_reissued += 1
            failures = 0 if self.trace.num_tokens > had else failures + 1
            if not isinstance(gone, Busy) and failures > self._retries:
                raise gone
            if gone.back_off:
                await self._back_off(gone, failures)
        self._end()

    def _end(self) -> None:
        self.has_ended = True
        if self._abort.is_set():
            # What an engine had reported before it was lost counts, too.
            self.trace.num_tokens = max(self.trace.num_tokens, self._tokens_at_abort)
            self.cancel_lag_s = time.monotonic() - self._aborted_at

    async def _back_off(self, gone: EngineGone, failures: int) -> None:
        """Wait before a retry, each time longer, or as long as the generator says."""
        pause_s = min(MOST_BACK_OFF_S, BACK_OFF_S * 2 ** min(failures, 16))
        if isinstance(gone, Busy) and gone.retry_after_s is not None:
            pause_s = gone.retry_after_s
        pause_s *= random.uniform(1.0, 1.5)  # not all traces at the same moment
        with suppress(TimeoutError):
            await asyncio.wait_for(self._abort.wait(), pause_s)
