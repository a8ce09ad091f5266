"""Bound what one key may hold at the same time, so that no key can take everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from actors.serving.errors import overloaded

RETRY_S = 5


class KeyLimit:
    """At most `limit` places for each owner of a key; `what` names them in errors."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._held: Counter[str] = Counter()

    @contextmanager
    def place(self, owner: str, retry_after_s: int = RETRY_S) -> Iterator[None]:
        """Hold a place within the context.

        Raises:
            ApiError: the owner has `limit` places already, 429.
        """
        if self._held[owner] >= self._limit:
            raise overloaded(
                f"{self._held[owner]} {self._what} with this key, the most that this server "
                "allows one key; retry later.",
                retry_after_s,
            )
        self._held[owner] += 1
        try:
            yield
        finally:
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]
