"""The least that a configuration says."""

from __future__ import annotations

from typing import Any


def minimal(**changes: Any) -> dict[str, Any]:
    """The least that a configuration says, with top-level keys changed; None removes one."""
    data = {
        "nodes": {"laptop": 1},
        "generator": {"kind": "vllm", "engine": {"model": "miniature/reasoner"}},
        "judge": {"engine": {"model": "miniature/judge"}},
        **changes,
    }
    return {key: value for key, value in data.items() if value is not None}
