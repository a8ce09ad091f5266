"""A local cluster asks for a token of its own, which ends with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.waiting import HANG_S

pytestmark = pytest.mark.live

PROGRAM = """
import ray
from actors.deploy.connection import connected

for _ in range(2):
    with connected(None, num_cpus=1):
        print(ray.get(ray.remote(lambda: "works").remote()))
"""


def test_a_local_run_leaves_no_token_that_the_next_head_would_ask_for(tmp_path):
    """`ray start --head` asks its nodes for a token as soon as the home folder has one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.stdout == "works\nworks\n", done.stderr
    assert not (tmp_path / ".ray" / "auth_token").exists()
