"""What a live run writes down is enough to come to the same decisions again, without an engine."""

from __future__ import annotations

import pytest

from deepprune.policy_config import (
    AdaptiveConfig,
    ConsConfig,
    DeepConfConfig,
    EscConfig,
    PlusConfig,
    PolicyConfig,
)
from jobs.storage.rows import Origin, write_solved
from jobs.storage.run_dir import RunDir
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


def _key(row):
    return row["problem_id"], row["cell"]
