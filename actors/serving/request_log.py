"""The request log: a line of JSON for each request, without prompts, answers or keys."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LONGEST_VALUE = 200


class RequestLog:
    """Writes to a file, or to stderr."""

    def __init__(self, path: Path | None) -> None:
        handler: logging.Handler
        handler = logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._logger = logging.Logger("deepprune.requests", logging.INFO)
        self._logger.addHandler(handler)

    def write(self, event: str, **fields: Any) -> None:
        """Add a line; long values are truncated."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        for name, value in fields.items():
            if value is not None:
                line[name] = value[:LONGEST_VALUE] if isinstance(value, str) else value
        self._logger.info(json.dumps(line))
