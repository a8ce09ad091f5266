"""Find the texts that end a trace, across updates, pauses and resumes."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Watches a trace that goes on after `prefix` for its stop texts."""

    def __init__(self, stop: Sequence[str], prefix: str) -> None:
        self._stop = stop
        self._keep = max(map(len, stop), default=1) - 1
        self._num_chars = len(prefix)
        self._tail = prefix[-self._keep :] if self._keep else ""

    def __bool__(self) -> bool:
        """Whether there is anything to watch for."""
        return bool(self._stop)

    def find(self, text: str) -> int | None:
        """Return the length of the trace's text before its first stop text, if one ends in `text`.

        `text` follows all that was seen before.
        """
        seen = self._tail + text
        start = self._num_chars - len(self._tail)
        self._num_chars += len(text)
        self._tail = seen[-self._keep :] if self._keep else ""
        places = [place for stop in self._stop if (place := seen.find(stop)) >= 0]
        return start + min(places) if places else None
