"""Where engines report what cancelled work had cost: an actor beside each ingress replica.

An engine cannot call into a Serve replica, which may be one of many behind a handle; it can call an
actor. The ingress takes its reports in bulk.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.driver.live import LiveProblem


@dataclass(frozen=True, slots=True)
class TraceUsage:
    """What a trace had generated when its cancel arrived; see `LiveProblem.settle`."""

    request_id: str
    num_tokens: int
    recent: tuple[tuple[float, int], ...]

    def deliver(self, live: LiveProblem) -> None:
        """Tell the problem."""
        sample = int(self.request_id.split("/")[1])
        live.settle(sample, self.num_tokens, self.recent)


@dataclass(frozen=True, slots=True)
class JudgeUsage:
    """What a cancelled call to the judge had cost."""

    request_id: str
    num_pairs: int
    computed_tokens: int
    cached_tokens: int

    def deliver(self, live: LiveProblem) -> None:
        """Tell the problem."""
        live.settle_judge(self.num_pairs, self.computed_tokens, self.cached_tokens)


UsageReport = TraceUsage | JudgeUsage


class UsageReports:
    """Holds reports until they are taken."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[UsageReport] = asyncio.Queue()

    async def settle(
        self, request_id: str, num_tokens: int, recent: tuple[tuple[float, int], ...]
    ) -> None:
        """A generator reports; see `actors.messages.TraceRequest.report_to`."""
        self._reports.put_nowait(TraceUsage(request_id, num_tokens, recent))

    async def settle_judge(
        self, request_id: str, num_pairs: int, computed_tokens: int, cached_tokens: int
    ) -> None:
        """A judge reports."""
        report = JudgeUsage(request_id, num_pairs, computed_tokens, cached_tokens)
        self._reports.put_nowait(report)

    async def until_death(self) -> None:
        """Never return: whoever calls it learns of the end of this process; see `CallerWatch`."""
        await asyncio.Event().wait()

    async def take(self) -> list[UsageReport]:
        """All reports there are, once there is one."""
        reports = [await self._reports.get()]
        while not self._reports.empty():
            reports.append(self._reports.get_nowait())
        return reports
