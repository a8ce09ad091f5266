"""`deepprune collect` over a system that ends every trace at once."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import signal
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepprune.config import load_config
from jobs.cli import main
from jobs.sample import collect as job
from jobs.storage.benchmarks import load_benchmark
from jobs.storage.collect_store import PART_TRACES
from tests.support.collected import ended, rows_in


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


@pytest.mark.parametrize("kind", ["vllm", "endpoint"])
def test_arguments_of_the_chat_template_are_part_of_a_recording(kind):
    engine = {"engine": {"model": "m"}, "chat_template_date": "2025-08-05"}
    generator = {"kind": kind, "chat_template_kwargs": {"reasoning_effort": "high"}} | (
        engine if kind == "vllm" else {"url": "http://x/v1", "model": "m"}
    )
    config = load_config("cluster/laptop.yaml", {"generator": generator})
    recorded = job.recorded_config(config, load_benchmark("miniature", slice(1)))["generator"]
    assert recorded["chat_template_kwargs"] == {"reasoning_effort": "high"}
    assert recorded.get("chat_template_date") == ("2025-08-05" if kind == "vllm" else None)


def test_the_recorded_configuration_of_an_endpoint_names_no_server():
    section = {"kind": "endpoint", "url": "http://x/v1", "model": "m", "api_key_env": "KEY"}
    config = load_config("cluster/laptop.yaml", {"generator": section})
    recorded = job.recorded_config(config, load_benchmark("miniature", slice(1)))
    assert set(recorded["generator"]) == {"kind", "model", "sampling"}
