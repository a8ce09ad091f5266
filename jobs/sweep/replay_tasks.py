"""Replays of a sweep as Ray tasks: score, calibrate, replay; a problem at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from deepprune.checkpoints import CheckpointSpec
from deepprune.feature_judge import FeatureJudge, learn_for_each
from deepprune.judges import Calibration, ScoredPairs, calibrate
from deepprune.policy_config import JudgingConfig
from deepprune.recordings import Recording
from deepprune.replay_dataset import Material
from deepprune.speed import SpeedConfig
from deepprune.sweep_config import Cell, SweepConfig
from jobs.storage.rows import outcome_row
from jobs.sweep.replay_judges import (
    NEEDS_NO_CALIBRATION,
    Scores,
    feature_sample,
    informed,
    noisy_scores,
    scores_of,
)

Bench = tuple[str, CheckpointSpec]
"""A judge and the checkpoint it judges at."""


@dataclass(frozen=True)
class Judging:
    """What a problem's pairs were scored, and what the scores mean."""

    scored: ScoredPairs | None
    calibration: Calibration


def bench_of(cell: Cell) -> Bench | None:
    """The judge of a cell with its checkpoint; None where nothing is judged."""
    if cell.judge is None:
        return None
    assert isinstance(cell.policy, JudgingConfig)
    spec = CheckpointSpec.parse(cell.policy.checkpoint, cell.policy.reasoning_words)
    return cell.judge, spec


def prepared(recordings: Sequence[Recording], config: SweepConfig) -> list[ray.ObjectRef[Material]]:
    """Make each recording ready, side by side: grouping answers takes algebra."""
    task = ray.remote(_prepare)
    return [task.remote(recording, config.chars_per_token) for recording in recordings]


def judgings(
    bench: Bench,
    materials: Sequence[ray.ObjectRef[Material]],
    scores: Scores,
    config: SweepConfig,
) -> list[ray.ObjectRef[Judging]]:
    """Score every problem with a judge, and calibrate it by the others.

    Raises:
        UserError: the judge cannot score a problem.
    """
    judge, spec = bench
    if judge == "features":
        return _by_features(spec, materials)
    given = judge.partition(":")[0] in NEEDS_NO_CALIBRATION
    task = ray.remote(_score)
    stand_in = "oracle" if given else judge
    scored_refs = [task.remote(stand_in, m, spec, scores) for m in materials]
    results = ray.get(scored_refs)
    calibrations = calibrate([s for s, _ in results], [answers for _, answers in results])
    judgings = []
    for (scored, _), calibration in zip(results, calibrations, strict=True):
        if judge.startswith("noisy:"):
            judgings.append(ray.put(Judging(None, calibration)))
        elif given or not config.calibrate:
            judgings.append(ray.put(Judging(scored, calibration)))
        else:
            judgings.append(ray.put(Judging(calibration.apply(scored), calibration)))
    return judgings


def _by_features(
    spec: CheckpointSpec, materials: Sequence[ray.ObjectRef[Material]]
) -> list[ray.ObjectRef[Judging]]:
    """Score every problem with a feature judge that was learned from the others."""
    sample, score = ray.remote(feature_sample), ray.remote(_score_features)
    judges = learn_for_each(ray.get([sample.remote(m, spec) for m in materials]))
    return [score.remote(j, m, spec) for j, m in zip(judges, materials, strict=True)]


def replay_problem(
    material: Material,
    cells: Sequence[tuple[Cell, int | None]],
    seeds: int,
    speed: SpeedConfig,
    *judgings: Judging,
) -> Iterator[list[dict[str, Any]]]:
    """Replay a problem under each cell in turn, with the judging at its place; a row per seed."""
    for cell, place in cells:
        judging = None if place is None else judgings[place]
        yield [_replay(material, cell, judging, seed, speed) for seed in range(seeds)]


def _prepare(recording: Recording, chars_per_token: float) -> Material:
    return Material(recording, chars_per_token)


def _score(
    judge: str, material: Material, spec: CheckpointSpec, scores: Scores
) -> tuple[ScoredPairs, dict[int, str | None]]:
    return scores_of(judge, material, spec, scores), material.answers


def _score_features(
    judge: FeatureJudge | None, material: Material, spec: CheckpointSpec
) -> Judging:
    if judge is None:  # nothing to learn from: a judge that says nothing
        samples = material.samples
        unknown = np.full((len(samples), len(samples)), 0.5)
        return Judging(ScoredPairs(samples, unknown, "nothing"), Calibration(1.0, 0.0, 0.5, 0.5))
    return Judging(judge.score(material.problem.text, material.prefixes(spec)), judge.calibration)


def _replay(
    material: Material, cell: Cell, judging: Judging | None, seed: int, speed: SpeedConfig
) -> dict[str, Any]:
    policy, scored = cell.policy, None
    if judging is not None:
        assert cell.judge is not None
        policy = informed(policy, cell.judge, judging.calibration)
        scored = judging.scored
        if scored is None:
            scored = noisy_scores(cell.judge, material, judging.calibration, seed)
    outcome = material.replay(policy, judge=scored, speed=speed, seed=seed)
    return outcome_row(
        outcome, cell.policy, model=material.model, driver="replay", judge=cell.judge, seed=seed
    )
