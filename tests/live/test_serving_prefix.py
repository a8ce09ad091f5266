"""Keys behind a real Serve proxy, whatever the route prefix."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.waiting import HANG_S

pytestmark = pytest.mark.live


@pytest.mark.core
def test_no_prefix_lets_anybody_in_without_a_key(tmp_path):
    out = tmp_path / "seen.json"
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.prefixed_endpoint", str(out)],
        capture_output=True,
        text=True,
        timeout=4 * HANG_S,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    seen = json.loads(out.read_text())
    assert list(seen) == ["/", "/llm"]
    open_to_all = {"/", "/healthz"}
    for prefix, statuses in seen.items():
        for path, (without, having) in statuses.items():
            known = 404 if path.endswith("none/events") else 200
            assert having == known, (prefix, path)
            assert without == (200 if path in open_to_all else 401), (prefix, path)
