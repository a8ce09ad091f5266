"""The demo on a real system: its policies on the same problems, told and drawn."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager

import pytest

from jobs.cli import main
from jobs.sample import demo
from tests.support.tables import load_outcomes, load_traces

pytestmark = pytest.mark.live

ARGUMENTS = ("demo", "--config", "laptop-pairwise", "--num-problems", "2", "--num-traces", "12")


@pytest.fixture
def on_a_running_system(live_system, monkeypatch):
    from actors.deploy.system import System

    @contextmanager
    def system_for(*_):
        yield System(live_system.coordinator, live_system.config)

    monkeypatch.setattr(demo, "system_for", system_for)
    yield
    live_system.coordinator.resume()  # after a Ctrl-C it would answer nobody any more


@pytest.mark.core
def test_its_policies_answer_the_same_problems(on_a_running_system, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*ARGUMENTS, "--out", str(folder)]) == 0
    report = capsys.readouterr().out
    for policy in ("deepprune", "deepprune+", "adaptive", "deepprune+, no judge"):
        row = rf"^{re.escape(policy)} +\d of 2 .* \d of 2 "
        assert re.search(row, report, re.MULTILINE), report
    for file in ("report.html", "lanes.png", "fates.png"):
        assert (folder / file).stat().st_size > 10_000
    rows = load_outcomes(folder)
    assert len({(row["problem_id"], row["cell"]) for row in rows}) == len(rows) == 10
    assert {row["policy"] for row in rows} == {"cons", "deepprune", "deepprune+", "adaptive"}
    judged = {row["judge"] is not None for row in rows if row["policy"] == "deepprune+"}
    assert judged == {True, False}
    assert all(row["complete"] for row in rows)
    seeds: dict[str, set[int]] = {}
    for trace in load_traces(folder):
        seeds.setdefault(trace["policy"], set()).add(trace["seed"])
    assert seeds["deepprune"] <= seeds["cons"], "the same traces"
    assert not seeds["deepprune+"] & seeds["cons"], "its own"


def test_one_policy_alone_and_ctrl_c(on_a_running_system, monkeypatch, tmp_path, capsys):
    solve = demo.solve

    def interrupted(system, tasks, display):
        for number, solved in enumerate(solve(system, tasks, display)):
            yield solved
            if number == 0 and tasks[0].policy.name == "esc":
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(demo, "solve", interrupted)
    folder = tmp_path / "run"
    assert main([*ARGUMENTS, "--policy", "esc", "--out", str(folder)]) == 130
    told = capsys.readouterr()
    assert f"interrupted: what there was is saved in {folder}" in told.err
    rows = load_outcomes(folder)
    assert {row["policy"] for row in rows} == {"cons", "esc"}
    assert "cons, esc" in told.out
