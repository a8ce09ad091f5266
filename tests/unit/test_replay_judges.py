"""Judges of sweeps: recorded scores that lack pairs, and judges learned elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepprune.checkpoints import CheckpointSpec
from deepprune.judges import Calibration, Judging, recorded
from deepprune.policy_config import PlusConfig
from deepprune.recordings import RecordedTrace, Recording
from deepprune.replay_dataset import ReplayDataset
from deepprune.traces import Problem
from jobs.sweep.encoder_scores import score_with_encoder
from jobs.sweep.replay_judges import completed, informed, scores_of

ENCODER = Path(__file__).parents[2] / "miniature" / "models" / "encoder"
KNOWN = Calibration(1.0, 0.0, base_rate=0.7, auroc=0.6)


def dataset(*answers: str | None) -> ReplayDataset:
    traces = (
        RecordedTrace(sample, f"2 + 2 = {answer}; so it is {answer}. " * 9, 90, answer)
        for sample, answer in enumerate(answers)
    )
    return ReplayDataset(Recording(Problem("made/1", "What is 2 + 2?", "4"), "m", tuple(traces)))


def test_pairs_without_a_score_get_the_base_rate_and_are_counted(caplog):
    scores = recorded([0, 1, 2], np.array([0]), np.array([1]), np.array([0.9]))
    (scored, _) = completed([Judging(scores, KNOWN)])[0]
    assert scored.p_same(1, [0]) == [0.9]
    assert scored.p_same(2, [0, 1]) == [0.7, 0.7]
    assert "2 of 3 pairs have no recorded score" in caplog.text


def test_a_problem_without_any_score_can_be_replayed():
    spec = CheckpointSpec.parse("tokens:10")
    scores = scores_of("recorded", (dataset("4", None), None), spec)
    (scored, _) = completed([Judging(scores, KNOWN)])[0]
    assert scored.p_same(1, [0]) == [0.7]


def test_an_encoder_of_a_folder_scores_all_pairs_and_brings_its_calibration():
    scored, known = score_with_encoder(
        str(ENCODER), dataset("4", "5", "4"), CheckpointSpec.parse("tokens:40")
    )
    assert scored.matrix.shape == (3, 3) and scored.reads == "prefixes"
    np.testing.assert_allclose(scored.matrix, scored.matrix.T, atol=1e-6)
    assert known.auroc > 0.8 and 0.5 < known.base_rate < 1


def test_a_policy_is_told_what_was_measured_of_its_judge_and_nothing_else():
    plus = PlusConfig(name="deepprune+")
    assert informed(plus, "features:elsewhere", KNOWN).auroc == 0.6
    assert informed(plus, "noisy:0.8", KNOWN).auroc == 0.8
    assert informed(plus, "oracle", KNOWN).auroc == 1.0
    assert informed(plus, "blind", KNOWN).auroc == 0.5
    assert informed(plus.model_copy(update={"auroc": 0.9}), "oracle", KNOWN).auroc == 0.9
