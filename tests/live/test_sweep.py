"""Sweeps as their users run them: killed and taken up again, and as jobs of a cluster."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.command import deepprune
from tests.support.waiting import HANG_S, until_hit, wait_for

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
NUM_PROBLEMS, NUM_TRACES = 8, 24


@pytest.fixture
def config(tmp_path) -> Path:
    """A sweep over a recording made up here: on every problem most traces agree, some do not."""
    rng = random.Random(7)
    with (tmp_path / "traces.jsonl").open("w") as file:
        for problem in range(NUM_PROBLEMS):
            for sample in range(NUM_TRACES):
                answer = rng.choices([problem, problem + 1, problem + 2], [6, 2, 1])[0]
                words = rng.choices(f"so then add {answer} {answer} wait".split(), k=200)
                row = {
                    "problem_id": f"made/{problem}",
                    "problem": f"What is {problem}?",
                    "reference": str(problem),
                    "model": "nobody",
                    "sample": sample,
                    "text": " ".join(words) + f" \\boxed{{{answer}}}",
                }
                file.write(json.dumps(row) + "\n")
    policies = ["cons", "esc", "adaptive", "deepprune", "oracle", "deepprune+"]
    path = tmp_path / "sweep.yaml"
    keys = {
        "recordings": ["traces.jsonl"],
        "policies": [{"name": name} for name in policies],
        "judges": ["tfidf", "oracle"],
        "num_traces": [NUM_TRACES],
        "checkpoints": ["tokens:50"],
        "seeds": 3,
    }
    path.write_text(yaml.safe_dump(keys))
    return path


def outcomes_of(folder: Path) -> list[dict]:
    rows = [row for part in parts_of(folder) for row in pq.read_table(part).to_pylist()]
    key = ("problem_id", "policy", "judge", "seed")
    return sorted(rows, key=lambda row: [str(row[name]) for name in key])


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "outcomes").glob("[!_]*.parquet"))


# deepprune by tfidf and blind; the oracle; deepprune+ by tfidf, oracle and blind, and without.
CELLS = 3 + 2 + 1 + 4


def test_killed_and_run_again_a_sweep_ends_as_if_nothing_had_been(config, bare_cluster, tmp_path):
    sweep = ("sweep", str(config), "--address", bare_cluster)
    arguments = (*sweep, "--out", "run")
    said = tmp_path / "said"

    def kill_half_way() -> dict[Path, bytes] | None:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *arguments],
            cwd=tmp_path,
            stderr=said.open("w"),
            start_new_session=True,
        )

        def has_begun() -> bool:
            assert process.poll() in (None, 0), said.read_text()
            return bool(parts_of(tmp_path / "run"))

        wait_for(has_begun, every=0.01)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = {part: part.read_bytes() for part in parts_of(tmp_path / "run")}
        return None if len(found) == NUM_PROBLEMS * CELLS else found

    before = until_hit(kill_half_way)
    assert 0 < len(before) < NUM_PROBLEMS * CELLS

    refused = deepprune(*arguments, "--set", "seeds=4", cwd=tmp_path)
    assert refused.returncode == 2
    assert "different: seeds" in refused.stderr

    again = deepprune(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert all(part.read_bytes() == content for part, content in before.items())
    whole = deepprune(*sweep, "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    rows = outcomes_of(tmp_path / "run")
    assert len(rows) == NUM_PROBLEMS * CELLS * 3
    assert rows == outcomes_of(tmp_path / "whole")
    assert all(row["generated_tokens"] > 0 for row in rows if "generated_tokens" in row)

    nothing_left = deepprune(*arguments, cwd=tmp_path)
    assert nothing_left.returncode == 0
    assert "replaying" not in nothing_left.stderr

    report = deepprune("report", "run", "--markdown", "run.md", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "deepprune+" in (tmp_path / "run.md").read_text()
    assert "<script src" not in (tmp_path / "run" / "report.html").read_text()


def test_more_traces_than_are_recorded_are_refused_before_anything_starts(config, tmp_path):
    result = deepprune("sweep", str(config), "--set", "num_traces=[25]", cwd=tmp_path)
    assert result.returncode == 2
    assert f"num_traces 25 is more than are recorded: made/0 has {NUM_TRACES}" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.core
def test_a_live_sweep_goes_on_where_it_was(live_system, monkeypatch, tmp_path, capsys):
    """Ctrl-C, then all of it: what was solved is not solved again, and all can be replayed.

    Two seeds: each outcome has its own texts in the report, and the folder is a recording.
    """
    from actors.deploy.system import System
    from deepprune.recordings import load_recordings
    from deepprune.seeds import stable_seed
    from jobs.cli import main
    from jobs.report.load import load_runs
    from jobs.report.trace_texts import TraceTexts
    from jobs.sweep import live as live_sweep

    @contextmanager
    def system_for(*_):
        live_system.coordinator.resume()  # as a new one would
        yield System(live_system.coordinator, live_system.config)

    runs: list[int] = []
    solve = live_sweep.solve

    def solve_some(system, tasks, display):
        runs.append(len(tasks))
        for number, solved in enumerate(solve(system, tasks, display)):
            yield solved
            if number == 0 and len(runs) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(live_sweep, "system_for", system_for)
    monkeypatch.setattr(live_sweep, "solve", solve_some)
    path = tmp_path / "live.yaml"
    keys = {
        "runs": ["laptop-pairwise"],
        "benchmarks": ["miniature"],
        "problems": "0:3",
        "policies": [{"name": "cons"}, {"name": "deepprune"}],
        "num_traces": [12],
        "checkpoints": ["tokens:54"],
        "seeds": 2,
    }
    path.write_text(yaml.safe_dump(keys))
    arguments = ["sweep", str(path), "--out", str(tmp_path / "run")]
    assert main(arguments) == 130
    assert f"run it again with --out {tmp_path / 'run'} to go on" in capsys.readouterr().err
    before = {part: part.read_bytes() for part in parts_of(tmp_path / "run")}
    assert 1 <= len(before) < 12
    assert main(arguments) == 0
    assert runs == [12, 12 - len(before)], "only what was missing"
    assert all(part.read_bytes() == content for part, content in before.items())
    rows = outcomes_of(tmp_path / "run")
    assert len({(row["problem_id"], row["policy"], row["seed"]) for row in rows}) == 12
    assert len(rows) == 12
    assert all(row["driver"] == "live" and row["complete"] for row in rows)
    assert [len(r.traces) for r in load_recordings(tmp_path / "run")] == [12] * 3

    traces = pq.read_table(tmp_path / "run" / "traces").to_pylist()
    drawn = stable_seed(1, rows[0]["problem_id"], 0)
    assert any(trace["seed"] == drawn for trace in traces), "the second seed draws other traces"
    (run,) = load_runs([tmp_path / "run"])
    texts = TraceTexts([run])
    for row in run.rows:
        for sample, text in texts.texts(row).items():
            assert text.text in {
                trace["text"]
                for trace in traces
                if trace["sample"] == sample
                and trace["seed"] == stable_seed(row.seed, row.problem_id, sample)
            }


def test_a_sweep_is_a_job_of_a_cluster(bare_head, config, tmp_path):
    out = tmp_path / "run"
    ray = str(Path(sys.executable).parent / "ray")
    submit = [
        *(ray, "job", "submit", "--address", bare_head.dashboard, "--working-dir", str(ROOT)),
        *("--", "python", "-m", "jobs", "sweep", str(config), "--out", str(out)),
    ]
    jobs: list[subprocess.CompletedProcess[str]] = []

    def is_taken() -> bool:
        assert bare_head.process.poll() is None
        jobs.append(subprocess.run(submit, capture_output=True, text=True, timeout=HANG_S))
        not_yet = "Failed to connect", "No available agent"
        return not any(words in jobs[-1].stderr for words in not_yet)

    wait_for(is_taken, every=1)
    job = jobs[-1]
    said = job.stdout + job.stderr
    assert job.returncode == 0, said
    assert re.search("succeeded", said), said
    assert len(outcomes_of(out)) == NUM_PROBLEMS * CELLS * 3
