"""What is on disk of a recording, and what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepprune.errors import UserError
from deepprune.recordings import load_recordings
from deepprune.schemas import TRACES
from jobs.sample import collect as job
from jobs.storage.collect_store import PART_S, PART_TRACES, CollectStore
from jobs.storage.run_dir import RunDir
from tests.support.collected import PROBLEMS, row, rows_in

KEYS = [(problem, sample) for problem in PROBLEMS for sample in range(4)]


@contextmanager
def opened(path: Path, **more):
    with RunDir(path, {"seed": 0}) as folder:
        yield CollectStore(folder, **more)


@given(st.sets(st.sampled_from(KEYS)), st.integers(1, 6), st.data())
def test_whatever_is_on_disk_exactly_the_rest_is_missing(tmp_path_factory, on_disk, num, data):
    path = tmp_path_factory.mktemp("recording")
    left = list(on_disk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # no power fails here, and disks may be slow
        while left:  # any number of earlier runs, each with any number of parts
            with opened(path) as store:
                for _ in range(data.draw(st.integers(1, 2))):
                    size = data.draw(st.integers(min(1, len(left)), len(left)))
                    store.add([row(problem, sample) for problem, sample in left[:size]])
                    store.flush()
                    left = left[size:]
    with opened(path) as store:
        missing = {(p, s) for p, samples in job.missing_work(store, PROBLEMS, num) for s in samples}
    assert missing == {(p, s) for p in PROBLEMS for s in range(num)} - on_disk
    assert len(rows_in(path)) == len(on_disk)


def test_parts_are_written_when_full_and_when_their_first_trace_has_waited(tmp_path):
    now = 0.0
    with opened(tmp_path, clock=lambda: now) as store:
        store.add([row(PROBLEMS[0], sample) for sample in range(PART_TRACES - 1)])
        store.flush(if_due=True)
        assert rows_in(tmp_path) == []
        store.add([row(PROBLEMS[1], 0)])
        assert len(rows_in(tmp_path)) == PART_TRACES
        store.add([row(PROBLEMS[1], 1)])
        now = PART_S - 0.1
        store.flush(if_due=True)
        assert len(rows_in(tmp_path)) == PART_TRACES
        now = PART_S
        store.flush(if_due=True)
        assert len(rows_in(tmp_path)) == PART_TRACES + 1


def test_rows_say_all_there_is_to_say(tmp_path):
    with opened(tmp_path) as store:
        store.add([row(PROBLEMS[2], 5), row(PROBLEMS[2], 6, "too long")])
        store.flush()
    good, bad = rows_in(tmp_path)
    assert set(good) == set(TRACES.names)
    assert (good["benchmark"], good["problem_id"], good["reference"]) == ("b", "b/2", "2")
    assert (good["model"], good["sample"], good["seed"]) == ("miniature/reasoner", 5, 5)
    assert (good["token_ids"], good["num_tokens"], good["finish_reason"]) == ([1, 2], 2, "stop")
    assert (good["confidence"], good["confidence_window"]) == ([1.5], 2048)
    assert (good["fate"], good["error"], good["policy"]) == ("finished", None, None)
    assert (bad["fate"], bad["error"], bad["answer"]) == ("lost", "too long", None)
    (recording,) = load_recordings(tmp_path)
    assert [trace.sample for trace in recording.traces] == [5]


def test_errors_are_kept_until_they_are_forgotten(tmp_path):
    with opened(tmp_path) as store:
        store.add([row(PROBLEMS[0], 0), row(PROBLEMS[0], 1, "lost")])
        store.flush()
        store.add([row(PROBLEMS[0], 2)])
        store.flush()
    with opened(tmp_path) as store:
        assert store.missing(PROBLEMS[0], 4) == [3]
        assert store.num_errors == 1
        store.forget_errors()
        assert store.missing(PROBLEMS[0], 4) == [1, 3]
        assert store.num_errors == 0
    with opened(tmp_path) as store:
        assert store.missing(PROBLEMS[0], 4) == [1, 3]
        store.add([row(PROBLEMS[0], 1)])
        store.flush()
    assert sorted(r["sample"] for r in rows_in(tmp_path)) == [0, 1, 2]


def test_a_damaged_part_is_named(tmp_path):
    with opened(tmp_path) as store:
        store.add([row(PROBLEMS[0], 0)])
        store.flush()
    part = tmp_path / "traces" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    said = r"part-000000\.parquet is damaged.*delete it"
    with pytest.raises(UserError, match=said), opened(tmp_path):
        pass


def test_a_process_killed_while_it_writes_leaves_whole_parts(tmp_path):
    program = f"""
import sys
from pathlib import Path
from tests.unit.test_collect_store import PROBLEMS, opened, row
with opened(Path({str(tmp_path)!r})) as store:
    for sample in range(100_000):
        store.add([row(PROBLEMS[0], sample)])
        store.flush()
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "traces" / "part-000003.parquet").exists():
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(UserError, match="another process is writing"), opened(tmp_path):
        pass
    process.kill()
    process.wait()
    with opened(tmp_path) as store:
        samples = [r["sample"] for r in rows_in(tmp_path)]
        assert samples == list(range(len(samples)))
        assert store.missing(PROBLEMS[0], len(samples) + 2) == [len(samples), len(samples) + 1]
