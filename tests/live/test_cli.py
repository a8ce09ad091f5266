"""The command as a newcomer types it: real Ray, real vLLM, an answer; and Ctrl-C half way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from tests.support.command import deepprune
from tests.support.tables import load_outcomes
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.live

MARK = "DEEPPRUNE_TEST"
PROBLEM = "What is 3 × 4 + 2 × 5 × 7 + 7 × 2 + 1 + 2 modulo 10?"


@pytest.mark.core
def test_answer_prints_one_json_object_and_saves_the_run(tmp_path):
    result = deepprune(
        *("answer", "-", "--json", "--num-traces", "24", "--out", "run"),
        cwd=tmp_path,
        stdin=PROBLEM,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    ledger = answer["ledger"]
    assert answer["answer"] is not None
    assert answer["complete"]
    assert "\\boxed" in answer["representative"]
    assert sum(vote["count"] for vote in answer["votes"]) <= ledger["finished_traces"]
    assert ledger["generated_tokens"] > 0
    assert ledger["judge_pairs"] > 0
    (row,) = load_outcomes(tmp_path / "run")
    assert row["answer"] == answer["answer"]
    assert row["finished_tokens"] == ledger["finished_tokens"]


def test_ctrl_c_saves_the_vote_so_far_and_leaves_no_process(tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jobs", "answer", PROBLEM, "--policy", "cons"),
            *("--num-traces", "2048", "--out", "run"),
        ],
        cwd=tmp_path,
        env=os.environ | {MARK: str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "running" in line:
            break
    titles = " ".join(_marked(str(tmp_path)))
    assert "deepprune-generator" in titles
    assert "deepprune-judge" not in titles, "nobody would ask it"
    # To the whole foreground group, as a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(HANG_S) == 130, "".join(said) + rest
    assert "saved in run" in rest
    assert "Traceback" not in "".join(said) + rest
    rows = load_outcomes(tmp_path / "run")
    assert [row["complete"] for row in rows] == [False]
    wait_for(lambda: not _marked(str(tmp_path)), every=0.5)


def _marked(mark: str) -> list[str]:
    """Processes whose environment has the mark: whatever has one inherits it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline())[:100])
    return found
