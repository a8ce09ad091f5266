"""Where engines report what cancelled work had cost: an actor beside each ingress replica.

An engine cannot call into a Serve replica, which may be one of many behind a handle; it can call an
actor. The ingress takes its letters in bulk.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.driver.live import LiveProblem


@dataclass(frozen=True, slots=True)
class TraceSettled:
    """What a trace had generated when its cancel arrived; see `LiveProblem.settle`."""

    request_id: str
    num_tokens: int
    recent: tuple[tuple[float, int], ...]

    def deliver(self, live: LiveProblem) -> None:
        """Tell the problem."""
        sample = int(self.request_id.split("/")[1])
        live.settle(sample, self.num_tokens, self.recent)


@dataclass(frozen=True, slots=True)
class JudgeSettled:
    """What a cancelled call to the judge had cost."""

    request_id: str
    num_pairs: int
    computed_tokens: int
    cached_tokens: int

    def deliver(self, live: LiveProblem) -> None:
        """Tell the problem."""
        live.settle_judge(self.num_pairs, self.computed_tokens, self.cached_tokens)


Letter = TraceSettled | JudgeSettled


class Mailbox:
    """Holds letters until they are taken."""

    def __init__(self) -> None:
        self._letters: asyncio.Queue[Letter] = asyncio.Queue()

    async def settle(
        self, request_id: str, num_tokens: int, recent: tuple[tuple[float, int], ...]
    ) -> None:
        """A generator reports; see `actors.messages.TraceRequest.report_to`."""
        self._letters.put_nowait(TraceSettled(request_id, num_tokens, recent))

    async def settle_judge(
        self, request_id: str, num_pairs: int, computed_tokens: int, cached_tokens: int
    ) -> None:
        """A judge reports."""
        letter = JudgeSettled(request_id, num_pairs, computed_tokens, cached_tokens)
        self._letters.put_nowait(letter)

    async def until_death(self) -> None:
        """Never return: whoever calls it learns of the end of this process; see `Askers`."""
        await asyncio.Event().wait()

    async def take(self) -> list[Letter]:
        """All letters there are, once there is one."""
        letters = [await self._letters.get()]
        while not self._letters.empty():
            letters.append(self._letters.get_nowait())
        return letters
