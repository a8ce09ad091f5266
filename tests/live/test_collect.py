"""`deepprune collect` on real engines: killed half way, fed with bad problems, run again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deepprune.recordings import load_recordings
from jobs.cli import main
from tests.support.systems import LiveSystem
from tests.support.waiting import HANG_S, until_hit, wait_for

pytestmark = pytest.mark.live

NUM_PROBLEMS, NUM_TRACES = 4, 64


@pytest.fixture
def command(live_system: LiveSystem) -> Callable[..., subprocess.Popen[str]]:
    """What starts the command in a process of its own, on the engines that run."""
    here = ("--config", live_system.config_path, "--address", live_system.address)

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", *arguments, *here],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def rows_of(folder: Path) -> list[dict]:
    return [row for part in parts_of(folder) for row in pq.read_table(part).to_pylist()]


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "traces").glob("part-*.parquet"))


def test_killed_half_way_and_run_again_every_trace_is_there_once(command, tmp_path):
    out = tmp_path / "recording"
    arguments = (
        *("collect", "miniature", "--problems", f":{NUM_PROBLEMS}", "--out", str(out)),
        *("--num-traces", str(NUM_TRACES)),
    )

    def kill_half_way() -> dict[Path, bytes] | None:
        shutil.rmtree(out, ignore_errors=True)
        process = command(*arguments)

        def has_begun() -> bool:
            assert process.poll() in (None, 0), process.stderr.read()
            return bool(parts_of(out))

        wait_for(has_begun, every=0.01)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        whole = len(rows_of(out)) == NUM_PROBLEMS * NUM_TRACES
        return None if whole else {part: part.read_bytes() for part in parts_of(out)}

    before = until_hit(kill_half_way)
    assert 0 < len(rows_of(out)) < NUM_PROBLEMS * NUM_TRACES

    again = command(*arguments)
    said = again.stderr.read()
    assert again.wait(HANG_S) == 0, said
    assert f"of {NUM_PROBLEMS * NUM_TRACES}" in said
    assert all(part.read_bytes() == content for part, content in before.items())
    rows = rows_of(out)
    assert set(Counter((row["problem_id"], row["sample"]) for row in rows).values()) == {1}
    assert len(rows) == NUM_PROBLEMS * NUM_TRACES
    for row in rows:
        assert (row["fate"], row["error"]) == ("finished", None)
        assert row["finish_reason"] in ("stop", "length")
        assert row["num_tokens"] == len(row["token_ids"]) > 0
        assert row["confidence_window"] == 32
        assert len(row["confidence"]) == readings(row["num_tokens"], 32)
    recordings = load_recordings(out)
    assert [len(recording.traces) for recording in recordings] == [NUM_TRACES] * NUM_PROBLEMS
    assert all(recording.problem.reference for recording in recordings)


def readings(num_tokens: int, window: int) -> int:
    """One at a full window, one every sixteenth of it after that, and one at the end."""
    if num_tokens < window:
        return 1
    stride = window // 16
    return 1 + -(-(num_tokens - window) // stride)


def test_a_bad_problem_is_recorded_and_stops_nothing(live_system, monkeypatch, tmp_path, capsys):
    from actors.deploy.system import System

    @contextmanager
    def system_for(config, *_):
        yield System(live_system.coordinator, config)

    monkeypatch.setattr("jobs.sample.collect.system_for", system_for)
    benchmark = tmp_path / "mixed.jsonl"
    problems = [
        {"problem": "What is 3 × 4 + 2 × 5 × 7 + 7 × 2 + 1 + 2 modulo 10?", "reference": "9"},
        {"problem": "What is " + "3 × " * 600 + "4 modulo 10?", "reference": "8"},
        {"problem": None, "reference": None},
    ]
    benchmark.write_text("\n".join(map(json.dumps, problems)))
    out = tmp_path / "recording"
    arguments = [
        *("collect", str(benchmark), "--num-traces", "4", "--out", str(out)),
        *("--config", live_system.config_path),
    ]
    assert main(arguments) == 0
    assert "8 of them errors" in capsys.readouterr().err
    errors = {row["problem_id"]: row["error"] for row in rows_of(out)}
    assert errors["mixed/0"] is None
    assert "512" in errors["mixed/1"] and "\n" not in errors["mixed/1"]
    assert errors["mixed/2"] == "the problem is empty"
    (recording,) = load_recordings(out)
    assert len(recording.traces) == 4

    parts = parts_of(out)
    assert main(arguments) == 0
    assert parts_of(out) == parts, "errors are kept unless they are to be tried again"
    assert main([*arguments, "--retry-errors"]) == 0
    keys = Counter((row["problem_id"], row["sample"]) for row in rows_of(out))
    assert set(keys.values()) == {1} and len(keys) == 12
