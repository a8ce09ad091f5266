"""What a live run writes down is enough to come to the same decisions again, without an engine."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from random import Random

import pytest
import yaml

from actors.deploy.system import System
from cluster.configs import resolve_config
from deepprune.policies import promise_of
from deepprune.policy_config import (
    AdaptiveConfig,
    ConsConfig,
    DeepConfConfig,
    EscConfig,
    PlusConfig,
    PolicyConfig,
)
from jobs.cli import main
from jobs.sample.run import Task
from jobs.storage.benchmarks import load_benchmark
from jobs.storage.rows import Origin, write_solved
from jobs.storage.run_dir import RunDir
from jobs.sweep import live
from jobs.sweep.turns import Turns, votes_in
from tests.support.tables import load_outcomes, load_scores, load_traces
from tests.support.verify_replay import replay_as_recorded

pytestmark = pytest.mark.live

POLICIES: list[PolicyConfig] = [
    ConsConfig(num_traces=16, stop_when_decided=True),
    EscConfig(name="esc", num_traces=16, window=4),
    AdaptiveConfig(name="adaptive", num_traces=16, wave="needed"),
    DeepConfConfig(name="deepconf-low", num_traces=24, warmup=8, wave=8),
    PlusConfig(name="deepprune+", num_traces=32, checkpoint="tokens:54"),
]


def test_a_live_run_told_again_comes_to_the_same_decisions(live_system, problems, tmp_path):
    policies = [*POLICIES, live_system.config.policy]
    config, folder = live_system.config, tmp_path / "run"
    with RunDir(folder, config.model_dump(mode="json")) as run_dir:
        for policy in policies:
            for solved in live_system.solve(problems[:2], policy, config.seed):
                write_solved(run_dir, solved, Origin.of(config))
    traces, scores = load_traces(folder), load_scores(folder)
    rows = load_outcomes(folder)
    assert len(rows) == 2 * len(policies)
    for row in rows:
        mine = [t for t in traces if _key(t) == _key(row)]
        told = replay_as_recorded(row, mine, [s for s in scores if _key(s) == _key(row)])
        assert told.answer == row["answer"]
        assert [list(c) for c in told.decision.clusters] == row["clusters"]
        assert [(a, list(s)) for a, s in told.decision.votes] == [
            (vote["answer"], vote["samples"]) for vote in row["votes"]
        ]
        assert {(e.sample, e.fate.value, e.reason) for e in told.ends} == {
            (e["sample"], e["fate"], e["reason"]) for e in row["ends"]
        }
        assert told.rounds == row["rounds"]
        assert told.ledger.finished_tokens == row["finished_tokens"]
        # Live, what the judge was still at when the vote was decided is billed too.
        assert 0 <= told.ledger.judge_pairs <= row["judge_pairs"]


def test_a_live_sweep_that_learns_can_be_told_again(live_system, monkeypatch, tmp_path):
    """Each problem was decided on the terms that follow from the outcomes before it."""

    @contextmanager
    def system_for(*_):
        yield System(live_system.coordinator, live_system.config)

    monkeypatch.setattr(live, "system_for", system_for)
    run = yaml.safe_load(resolve_config("laptop").read_text())
    run["limits"] = run.get("limits", {}) | {"max_problems": 2}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    keys = {
        "runs": ["run.yaml"],
        "benchmarks": ["miniature"],
        "problems": "0:6",
        "policies": [{"name": "deepprune+", "trust": 0, "risk": 0.1}],
        "num_traces": [12],
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(keys))
    folder = tmp_path / "sweep"
    assert main(["sweep", str(tmp_path / "sweep.yaml"), "--out", str(folder)]) == 0

    rows = {row["problem_id"]: row for row in load_outcomes(folder)}
    policy = PlusConfig(name="deepprune+", trust=0, risk=0.1, num_traces=12)
    given = load_benchmark("miniature", slice(0, 6)).problems
    in_turn = {p.problem_id: Task(p, policy, 0) for p in Random(0).sample(given, len(given))}
    turns = Turns(in_turn, {}, promise_of(policy), lag=2)
    to_come, traces = deque(turns.ready()), load_traces(folder)
    thresholds = set()
    while to_come:
        task = to_come.popleft()
        row, terms = rows[task.problem.problem_id], task.terms
        assert terms is not None
        thresholds.add(terms.threshold)
        told = replay_as_recorded(row, [t for t in traces if _key(t) == _key(row)], [], terms)
        assert told.answer == row["answer"]
        assert {(e.sample, e.fate.value) for e in told.ends} == {
            (e["sample"], e["fate"]) for e in row["ends"]
        }
        to_come.extend(turns.ready_after(task.problem.problem_id, votes_in(row)))
    assert len(thresholds) == 5, "two begin on an empty account"


def _key(row):
    return row["problem_id"], row["cell"]
