"""A judge trained for real: two workers, DeepSpeed over gloo, one of them killed on the way."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from actors.language_model import load_language_model
from actors.models import load_prompt
from actors.tokenizer import load_tokenizer
from deepprune.statistics import auroc
from tests.support.command import deepprune
from tests.support.processes import started
from training.config import PairsConfig, TrainConfig, load
from training.learners.batches import PairEncoder
from training.learners.judge import JudgeModel, score_prompts
from training.learners.log import read_log
from training.learners.run import run
from training.offline.scoring import open_judge
from training.pairs.build import PairsBuild
from training.pairs.data import load_pairs
from training.pairs.scan_sources import scan_sources

pytestmark = pytest.mark.faults

# Long enough for a busy machine to kill a worker before the last step.
SETTINGS = {"evaluate_every": 5, "checkpoint_every": 2, "epochs": 6, "evaluation_pairs": 100}


@pytest.fixture(scope="module")
def pairs(bare_cluster, tmp_path_factory) -> Path:
    """Pairs of traces that say early what their answer will be."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = random.Random(0)
    rows = [
        {
            "problem_id": f"made/{p}",
            "problem": f"Problem {p}?",
            "model": "m",
            "sample": s,
            "text": f"so {p % 10} × {a} then we have {a} . since {a} , the answer is {a}.",
            "answer": str(a),
        }
        for p in range(30)
        for s in range(8)
        for a in [rng.randrange(2)]
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    config = PairsConfig(
        checkpoints=["tokens:8"], tokenizer="miniature/reasoner", pairs_per_problem=16
    )
    work = PairsBuild([folder / "t.parquet"], scan_sources([folder / "t.parquet"]), config, folder)
    assert sum(work.cut()) == len(rows)
    assert sum(work.pair()) == 30
    (folder / "manifest.json").write_text(json.dumps(work.manifest([])))
    (folder / "config.yaml").write_text("pairs: made for a test\n")
    return folder


def train(pairs: Path, folder: Path, seen, **settings):
    config = load(TrainConfig, "tiny", SETTINGS | settings)
    folder.mkdir(exist_ok=True)
    return run(config, pairs, "tokens:8", folder.absolute().as_uri(), seen)


def workers() -> list[psutil.Process]:
    return [one.process for one in started() if "RayTrainWorker" in one.title]


def test_training_goes_on_after_a_killed_worker_along_the_same_curve(
    bare_cluster, pairs, tmp_path, monkeypatch
):
    # Ray Train notes a checkpoint, or a death, when it next looks at the workers.
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    arguments = ("train", str(pairs), "--config", "tiny", "--out", "whole", *settings)
    done = deepprune(*arguments, "--address", bare_cluster, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = read_log(tmp_path / "whole")
    num_steps = int(whole[0]["num_steps"])
    assert [int(row["step"]) for row in whole] == list(range(1, num_steps + 1))

    # The best judge is a folder like any other, and knows what it is worth.
    found = re.search(r"the best checkpoint is that of step (\d+)", done.stderr)
    assert found is not None, done.stderr
    best = whole[int(found[1]) - 1]
    evaluated = [float(row["mean_auroc"]) for row in whole if row["mean_auroc"]]
    assert float(best["mean_auroc"]) == max(evaluated)
    folder = str(tmp_path / "whole" / "judge")
    prompt = load_prompt(folder)
    assert prompt.checkpoint == "tokens:8"
    # So few pairs are told apart perfectly, and a threshold is kept off 1.
    assert prompt.tau == pytest.approx(min(0.999, float(best["tau"])), abs=1e-4)
    assert prompt.slope == pytest.approx(float(best["slope"]), abs=1e-4)
    encoder = PairEncoder(prompt, load_tokenizer(folder), 192)
    module = JudgeModel(load_language_model(folder), encoder.answer_ids).eval()
    held_out = load_pairs(pairs, ["validation"])
    scores = score_prompts(module, encoder.encode_all(held_out), torch.device("cpu"))
    assert auroc(held_out.same, scores) == pytest.approx(float(best["auroc"]), abs=1e-3)

    again = deepprune(*arguments, "--address", bare_cluster, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(read_log(tmp_path / "whole")) == num_steps, "what is done is not done again"

    interrupted, killed = [], []
    before, after = set(), set()

    def kill_one(progress) -> None:
        assert not isinstance(progress, str)
        interrupted.append(progress)
        noted = list((tmp_path / "interrupted").glob("*/checkpoint_manager_snapshot.json"))
        if killed:
            after.update(worker.pid for worker in workers())
        elif noted and "step-" in noted[0].read_text():
            before.update(worker.pid for worker in workers())
            victim = workers()[-1]
            killed.append(victim)
            os.kill(victim.pid, signal.SIGKILL)

    train(pairs, tmp_path / "interrupted", kill_one)
    assert killed
    assert after - before, "others go on"
    steps = [progress.step for progress in interrupted]
    # Where nothing was done after the last checkpoint, nothing is done again.
    jumps = [b for a, b in pairwise(steps) if b != a + 1]
    assert len(jumps) <= 1, "one new start, from a checkpoint and not from the beginning"
    assert all(b > 10 and b % 10 == 1 for b in jumps)
    losses = {progress.step: progress.loss for progress in interrupted}
    assert sorted(losses) == list(range(1, num_steps + 1))
    np.testing.assert_allclose(
        [losses[step] for step in sorted(losses)],
        [float(row["loss"]) for row in whole],
        rtol=1e-3,
    )


def test_an_encoder_is_trained_by_two_workers_as_well(bare_cluster, pairs, tmp_path):
    changes = {"kind": "encoder", "loss.kind": "cross_entropy", "epochs": 4, "evaluate_every": 12}
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    arguments = ("train", str(pairs), "--config", "tiny", "--out", "encoder", *settings)
    done = deepprune(*arguments, "--address", bare_cluster, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "encoder" / "judge"
    assert "judge={kind: encoder, folder: encoder/judge}" in done.stderr
    log = read_log(tmp_path / "encoder")
    losses = [float(row["loss"]) for row in log]
    assert len(losses) == int(log[0]["num_steps"]) > 12
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    found = re.search(r"the best checkpoint is that of step (\d+)", done.stderr)
    assert found is not None, done.stderr
    best = log[int(found[1]) - 1]
    judge = open_judge(str(folder), load_pairs(pairs, ["train"]), 192)
    held_out = load_pairs(pairs, ["validation"]).limited(400, 0)
    scores = judge.score(held_out, lambda count: None)
    assert auroc(held_out.same, scores) == pytest.approx(float(best["auroc"]), abs=1e-3)
    assert judge.tau == pytest.approx(float(best["tau"]), abs=1e-4)
