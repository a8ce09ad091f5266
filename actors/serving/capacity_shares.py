"""What each ingress replica has to do, so that they share the engines by need.

Without it each would get an equal part, and one that all clients happen to be connected to could
not fill the engines, nor show that they are full.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

FORGET_S = 10.0
"""An ingress that says nothing for so long is gone."""


class Census:
    """A Serve deployment of one replica. If it dies, it knows all again within seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, dict[str, int]]] = {}

    async def tell(self, ingress: str, wanted: dict[str, int]) -> dict[str, list[int]]:
        """Take down how many traces an ingress has, by model; returns the numbers of the others."""
        now = time.monotonic()
        self._known[ingress] = (now, wanted)
        self._known = {k: v for k, v in self._known.items() if v[0] > now - FORGET_S}
        others = [has for name, (_, has) in self._known.items() if name != ingress]
        return {model: [has.get(model, 0) for has in others] for model in wanted}


def share_by_need(total: int, mine: int, others: Sequence[int]) -> int:
    """How many of `total` slots are mine when I have `mine` traces and others have `others`.

    Nobody gets more than they need while another lacks; what nobody needs is shared equally. Never
    less than a quarter of an equal part, so that a request does not wait for the next census.
    """
    num = 1 + len(others)
    left = total
    shares: dict[int, int] = {}
    for place, need in enumerate(sorted((mine, *others))):
        got = min(need, left // (num - place))
        shares.setdefault(need, got)
        left -= got
    return max(1, shares[mine] + left // num, total // (4 * num))
