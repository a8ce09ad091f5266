from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.driver.live_trace import LiveTrace
from actors.driver.trace_collector import Collected, collect
from actors.generators.abortable import AbortableGenerators
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from deepprune.config import SamplingConfig, load_config
from deepprune.errors import UserError
from deepprune.recordings import load_recordings
from deepprune.schemas import TRACES
from deepprune.seeds import stable_seed
from deepprune.traces import Problem
from jobs.cli import main
from jobs.sample import collect as job
from jobs.storage.benchmarks import load_benchmark
from jobs.storage.collect_store import PART_S, PART_TRACES, CollectStore
from jobs.storage.run_dir import RunDir

CONFIG = load_config("cluster/laptop.yaml", {"generator.confidence": True})
PROBLEMS = [Problem(f"b/{i}", f"What is {i}?", str(i), "math") for i in range(3)]
KEYS = [(problem, sample) for problem in PROBLEMS for sample in range(4)]


def ended(sample: int, error: str | None = None) -> Collected:
    trace = LiveTrace(
        seed=sample,
        text="\\boxed{1}",
        token_ids=[1, 2],
        num_tokens=2,
        finish_reason=None if error else "stop",
        answer=None if error else "1",
        confidence=[1.5],
    )
    return Collected(sample, trace, error)


def row(problem: Problem, sample: int, error: str | None = None) -> dict:
    return job.collected_row(CONFIG, problem, ended(sample, error))


def rows_in(folder: Path) -> list[dict]:
    parts = sorted((folder / "traces").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


@contextmanager
def opened(path: Path, **more):
    with RunDir(path, {"seed": 0}) as folder:
        yield CollectStore(folder, **more)


# --- what is on disk and what is missing ----------------------------------------------------------


@given(st.sets(st.sampled_from(KEYS)), st.integers(1, 6), st.data())
def test_whatever_is_on_disk_exactly_the_rest_is_missing(tmp_path_factory, on_disk, num, data):
    path = tmp_path_factory.mktemp("recording")
    left = list(on_disk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # no power fails here, and disks may be slow
        while left:  # any number of earlier runs, each with any number of parts
            with opened(path) as store:
                for _ in range(data.draw(st.integers(1, 2))):
                    size = data.draw(st.integers(0, len(left)))
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


# --- the command ----------------------------------------------------------------------------------


class Stream:
    """What a streaming call gives: parts of traces, one at a time."""

    def __init__(self, parts: list) -> None:
        self.parts = iter(parts)

    def __next__(self):
        return next(self.parts)


@pytest.fixture
def asked(monkeypatch):
    """A system that ends every trace at once; the keys it was asked for."""
    keys: list[tuple[str, int]] = []
    at_once: list[int] = []

    def sample(problem, samples, seed):
        keys.extend((problem.problem_id, s) for s in samples)
        at_once.append(len(samples))
        return Stream([[ended(s)] for s in samples])

    import ray

    monkeypatch.setattr(ray, "wait", lambda streams, **_: (streams[:1], streams[1:]))
    monkeypatch.setattr(ray, "get", lambda part: part)
    coordinator = Namespace(collect=sample)

    @contextmanager
    def system_for(config, *_):
        yield Namespace(coordinator=coordinator, config=config)

    monkeypatch.setattr(job, "system_for", system_for)
    return keys


def run(out: Path, *more: str) -> int:
    return main(["collect", "miniature", "--problems", ":3", "--out", str(out), *more])


def test_more_traces_and_more_problems_add_to_a_recording(asked, tmp_path, capsys):
    assert run(tmp_path / "r", "--num-traces", "2") == 0
    assert len(asked) == 6
    assert "6 traces: saved in" in capsys.readouterr().err
    assert run(tmp_path / "r", "--num-traces", "2") == 0
    assert len(asked) == 6
    assert run(tmp_path / "r", "--num-traces", "3", "--problems", "1:4") == 0
    assert len(set(asked)) == len(asked) == 6 + 2 + 3
    assert len(rows_in(tmp_path / "r")) == 11


def test_a_folder_of_another_configuration_is_refused_with_what_differs(asked, tmp_path, capsys):
    assert run(tmp_path, "--num-traces", "1") == 0
    changed = ("--set", "generator.sampling.temperature=0.5", "--seed", "4")
    assert run(tmp_path, "--num-traces", "1", *changed) == 2
    said = capsys.readouterr().err
    assert "generator.sampling.temperature, seed" in said
    assert run(tmp_path, "--num-traces", "1", "--answer-kind", "math") == 2
    assert "benchmark.answer_kind" in capsys.readouterr().err
    hardware = ("--set", "generator.engine.max_num_seqs=3", "--set", "limits.max_problems=1")
    assert run(tmp_path, "--num-traces", "1", *hardware) == 0
    assert len(asked) == 3


def test_a_full_disk_stops_in_one_line_and_the_rest_is_sampled_later(
    asked, tmp_path, capsys, monkeypatch
):
    calls, fsync = itertools.count(), os.fsync

    def full(descriptor: int) -> None:
        if next(calls) >= 2:  # the configuration and a first part still fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert run(tmp_path / "r", "--num-traces", "40") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No space left on device" in last and "run the same command again" in last
    assert len(rows_in(tmp_path / "r")) == PART_TRACES
    monkeypatch.setattr(os, "fsync", fsync)
    assert run(tmp_path / "r", "--num-traces", "40") == 0
    keys = [(r["problem_id"], r["sample"]) for r in rows_in(tmp_path / "r")]
    assert len(keys) == len(set(keys)) == 120


def test_an_interrupt_keeps_what_had_ended(asked, tmp_path, monkeypatch, capsys):
    waits = itertools.count()

    def wait(streams, **_):
        if next(waits) == 5:
            gc.disable()  # an exception in a callback of its, Hypothesis has one, would be lost
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                gc.enable()
        return streams[:1], streams[1:]

    monkeypatch.setattr("ray.wait", wait)
    assert run(tmp_path, "--num-traces", "4") == 130
    assert "interrupted: run it again to go on; saved in" in capsys.readouterr().err
    assert 0 < len(rows_in(tmp_path)) < 12
    assert run(tmp_path, "--num-traces", "4") == 0
    assert len(rows_in(tmp_path)) == 12


@pytest.mark.parametrize("wrong", ["3", "a:b", "-1:2", "1:2:3"])
def test_a_range_that_is_none_is_refused(tmp_path, wrong, capsys):
    assert run(tmp_path, f"--problems={wrong}") == 2
    assert "write A:B" in capsys.readouterr().err


def test_a_setting_that_is_no_yaml_is_refused_in_one_line(tmp_path, capsys):
    assert run(tmp_path, "--set", "generator.progress_s=[") == 2
    assert "is not a YAML value" in capsys.readouterr().err


def test_the_recorded_configuration_of_an_endpoint_names_no_server():
    section = {"kind": "endpoint", "url": "http://x/v1", "model": "m", "api_key_env": "KEY"}
    config = load_config("cluster/laptop.yaml", {"generator": section})
    recorded = job.recorded_config(config, load_benchmark("miniature", slice(1)))
    assert set(recorded["generator"]) == {"kind", "model", "sampling"}


# --- sampling one problem -------------------------------------------------------------------------


class Scripted(AbortableGenerators):
    """Generators that do what they are told to for each sample, attempt by attempt."""

    def __init__(self, scripts: dict[int, list]) -> None:
        super().__init__()
        self.scripts = scripts
        self.requests: list[TraceRequest] = []
        self.closed = 0

    async def generate(self, request: TraceRequest):
        self.requests.append(request)
        sample = int(request.request_id.split("/")[1])
        step = self.scripts[sample].pop(0)
        try:
            if step == "dead":
                raise EngineGone("no replica")
            yield TraceUpdate("half ", (1,), request.prefix_num_tokens + 1)
            if isinstance(step, Exception):
                raise step
            if step == "hang":
                await asyncio.Event().wait()
            yield TraceUpdate(step, (2,), request.prefix_num_tokens + 2, finish_reason="stop")
        finally:
            self.closed += 1


def collecting(generators: Scripted, samples, problem: Problem = PROBLEMS[0], retries: int = 1):
    return collect(
        "c0",
        problem,
        samples,
        7,
        sampling=SamplingConfig(),
        generators=generators,
        confidence_window=None,
        retries=retries,
    )


async def test_every_sample_comes_out_once_with_the_seed_of_a_live_run():
    generators = Scripted({3: ["\\boxed{4}"], 5: ["no answer"]})
    found = [c async for part in collecting(generators, [3, 5]) for c in part]
    assert [(c.sample, c.trace.answer, c.error) for c in found] == [(3, "4", None), (5, None, None)]
    seeds = [request.seed for request in generators.requests]
    assert seeds == [stable_seed(7, "b/0", 3), stable_seed(7, "b/0", 5)]


async def test_a_trace_whose_engine_dies_is_resumed_and_given_up_in_the_end():
    gone = EngineGone("replica lost")
    generators = Scripted({0: [gone, "\\boxed{1}"], 1: [gone, "dead", "dead"]})
    found = {c.sample: c async for part in collecting(generators, [0, 1]) for c in part}
    assert found[0].error is None
    assert found[0].trace.text == "half half \\boxed{1}"
    assert found[1].error == "no replica"
    assert len({request.request_id for request in generators.requests}) == 5


async def test_a_refused_problem_is_an_error_of_each_of_its_samples():
    generators = Scripted({0: [UserError("too long\nby far")], 1: ["\\boxed{1}"]})
    found = {c.sample: c.error async for part in collecting(generators, [0, 1]) for c in part}
    assert found == {0: "too long by far", 1: None}
    empty = Problem("b/e", " \n")
    found = {c.sample: c.error async for part in collecting(generators, [0], empty) for c in part}
    assert found == {0: "the problem is empty"}


async def test_leaving_early_closes_every_stream():
    generators = Scripted({0: ["\\boxed{1}"], 1: ["hang"], 2: ["hang"]})
    traces = collecting(generators, [0, 1, 2])
    assert [c.sample for c in await anext(traces)] == [0]
    await traces.aclose()
    assert generators.closed == 3


async def test_a_bug_is_not_taken_for_a_bad_problem():
    generators = Scripted({0: [ZeroDivisionError()], 1: ["hang"]})
    with pytest.raises(ZeroDivisionError):
        async for _ in collecting(generators, [0, 1]):
            pass
    assert generators.closed == 2
