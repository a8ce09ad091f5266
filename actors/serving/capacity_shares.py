"""Share the engine slots among the ingress replicas by demand.

With equal shares, an ingress replica that all clients are connected to could not fill the engines,
nor show that they are full.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

FORGET_S = 10.0
"""Seconds without a report after which an ingress replica is taken for dead."""


class CapacityShares:
    """The demand of each ingress replica: a Serve deployment of one replica.

    After a restart it has every demand again within seconds.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, dict[str, int]]] = {}

    async def report(self, ingress: str, demand: dict[str, int]) -> dict[str, list[int]]:
        """Record an ingress replica's traces by model, and return the numbers of the others."""
        now = time.monotonic()
        self._known[ingress] = (now, demand)
        self._known = {k: v for k, v in self._known.items() if v[0] > now - FORGET_S}
        others = [has for name, (_, has) in self._known.items() if name != ingress]
        return {model: [has.get(model, 0) for has in others] for model in demand}


def share_by_need(total: int, mine: int, others: Sequence[int]) -> int:
    """Compute my share of `total` slots, given a demand of `mine` traces here and `others` there.

    No replica gets more than its demand while another lacks slots; slots beyond all demand are
    shared equally. The share is at least a quarter of an equal one, so that a request need not wait
    for the next report.
    """
    num = 1 + len(others)
    left = total
    shares: dict[int, int] = {}
    for place, need in enumerate(sorted((mine, *others))):
        got = min(need, left // (num - place))
        shares.setdefault(need, got)
        left -= got
    return max(1, shares[mine] + left // num, total // (4 * num))
