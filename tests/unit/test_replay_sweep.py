"""Sweeps over recordings, in processes of this machine."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from deepprune.errors import UserError
from deepprune.split_prior import read, shipped
from deepprune.sweep_config import load_sweep
from jobs.sweep.prior import learn_prior
from jobs.sweep.replay_tasks import replay_sweep
from jobs.sweep.workers import LocalWorkers, results

NUM_PROBLEMS, NUM_TRACES, SEEDS = 6, 20, 2


@pytest.fixture
def config(tmp_path) -> Path:
    random_ = random.Random(7)
    with (tmp_path / "traces.jsonl").open("w") as file:
        for problem in range(NUM_PROBLEMS):
            for sample in range(NUM_TRACES):
                answer = random_.choices([problem, problem + 1, problem + 2], [6, 2, 1])[0]
                row = {
                    "problem_id": f"made/{problem}",
                    "problem": f"What is {problem}?",
                    "model": "nobody",
                    "sample": sample,
                    "text": "so " * random_.randint(50, 300) + f"\\boxed{{{answer}}}",
                }
                file.write(json.dumps(row) + "\n")
    path = tmp_path / "sweep.yaml"
    keys = {
        "recordings": ["traces.jsonl"],
        "policies": [{"name": name} for name in ("cons", "short-m@k", "mmc", "deepprune+")],
        "judges": ["tfidf"],
        "num_traces": [NUM_TRACES],
        "checkpoints": ["tokens:20"],
        "seeds": SEEDS,
    }
    path.write_text(yaml.safe_dump(keys))
    return path


def run(config: Path, out: Path) -> dict[str, list[dict]]:
    replay_sweep(load_sweep(config), config.parent, out, None)
    parts = sorted((out / "outcomes").glob("[!_]*.parquet"))
    return {part.name: pq.read_table(part).to_pylist() for part in parts}


def test_a_sweep_that_lost_some_of_its_parts_makes_the_same_ones_again(config, tmp_path):
    before = run(config, tmp_path / "run")
    assert len(before) == NUM_PROBLEMS * 6  # deepprune+ by tfidf, blind, and without a judge
    for name in list(before)[::5]:
        (tmp_path / "run" / "outcomes" / name).unlink()
    assert run(config, tmp_path / "run") == before
    assert run(config, tmp_path / "another") == before


def test_without_a_judge_and_with_a_blind_one_the_outcomes_are_the_same(config, tmp_path):
    rows = [row for part in run(config, tmp_path / "run").values() for row in part]
    plus = [row for row in rows if row["policy"] == "deepprune+"]
    by_judge = {
        judge: {
            (row["problem_id"], row["seed"]): row["finished_tokens"]
            for row in plus
            if row["judge"] == judge
        }
        for judge in (None, "blind")
    }
    assert len(by_judge[None]) == NUM_PROBLEMS * SEEDS
    assert by_judge[None] == by_judge["blind"]


def test_with_a_judge_problems_are_held_to_the_account_that_those_before_leave(config, tmp_path):
    keys = yaml.safe_load(config.read_text())
    tokens = {}
    for learns in (True, False):
        keys["policies"] = [{"name": "deepprune+", "learns": learns, "risk": 0.1}]
        keys |= {"judges": ["noisy:0.85"], "controls": False}
        config.write_text(yaml.safe_dump(keys))
        rows = [row for part in run(config, tmp_path / str(learns)).values() for row in part]
        assert len(rows) == NUM_PROBLEMS * SEEDS
        tokens[learns] = [row["finished_tokens"] for row in rows]
    assert tokens[True] != tokens[False]


def test_workers_apply_a_function_to_items_that_cannot_be_pickled():
    items = [lambda: 1, lambda: 2, lambda: 3]
    assert results(LocalWorkers(2), lambda item: item(), items) == [1, 2, 3]


def test_workers_raise_what_the_function_raises_and_name_the_death_of_a_process():
    def refuse(item: int) -> int:
        raise UserError(f"not {item}")

    with pytest.raises(UserError, match="not"):
        results(LocalWorkers(2), refuse, [1, 2])
    with pytest.raises(UserError, match="died"):
        results(LocalWorkers(2), lambda item: os._exit(item), [1, 2])


def test_a_prior_is_learned_from_a_recording_and_used_by_a_sweep(config, tmp_path):
    learn_prior([tmp_path / "traces.jsonl"], tmp_path / "prior.json")
    assert read(tmp_path / "prior.json") != shipped()
    keys = yaml.safe_load(config.read_text())
    keys["policies"] = [{"name": "deepprune+", "trust": 0, "prior": str(tmp_path / "prior.json")}]
    config.write_text(yaml.safe_dump(keys))
    assert len(run(config, tmp_path / "run")) == NUM_PROBLEMS
