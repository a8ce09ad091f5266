"""Judges for replays by name: score all pairs of recorded problems, and calibrate the scores."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepprune import judges
from deepprune.cells import seed_of
from deepprune.checkpoints import CheckpointSpec
from deepprune.config import Reads
from deepprune.errors import UserError
from deepprune.feature_judge import FeatureJudge, Sample, learn_for_each, sampled
from deepprune.judges import Calibration, ScoredPairs
from deepprune.policy_config import JudgingConfig, PlusConfig, PolicyConfig
from deepprune.recordings import source_files
from deepprune.replay_dataset import ReplayDataset
from deepprune.sweep_config import SweepCell
from deepprune.table_io import Kind, read_rows

if TYPE_CHECKING:
    import ray


class JudgeSpec(NamedTuple):
    """A judge by its name, and the checkpoint it judges at."""

    name: str
    checkpoint: CheckpointSpec

    @classmethod
    def of(cls, cell: SweepCell) -> JudgeSpec | None:
        """The judge of a cell; None where nothing is judged."""
        if cell.judge is None:
            return None
        assert isinstance(cell.policy, JudgingConfig)
        spec = CheckpointSpec.parse(cell.policy.checkpoint, cell.policy.reasoning_words)
        return cls(cell.judge, spec)


@dataclass(frozen=True)
class Judging:
    """The scores of a problem's pairs (None: drawn anew for each seed), and what they mean."""

    scored: ScoredPairs | None
    calibration: Calibration


@dataclass
class RecordedScores:
    """P(same) of a problem's pairs by (first, second), and what was read for all of them."""

    reads: Reads = "pairs"
    p_same: dict[tuple[int, int], float] = field(default_factory=dict)


Scores = Mapping[tuple[str, str, str], RecordedScores]
"""Recorded scores by (problem id, model, checkpoint)."""

SCORE_COLUMNS: dict[str, Kind] = {
    "problem_id": "text",
    "model": "text",
    "checkpoint": "text",
    "first": "integer",
    "second": "integer",
    "p_same": "number",
    "reads": "text",
    "cell": "text",
}
NEEDS_NO_CALIBRATION = ("oracle", "noisy")


def judge_all(
    spec: JudgeSpec,
    datasets: Sequence[ray.ObjectRef[ReplayDataset]],
    scores: Scores,
    *,
    calibrated: bool,
) -> list[ray.ObjectRef[Judging]]:
    """Score every problem with a judge; with `calibrated`, calibrate its scores by the others.

    Raises:
        UserError: the judge cannot score a problem.
    """
    import ray

    name, checkpoint = spec
    if name == "features":
        sample, score = ray.remote(feature_sample), ray.remote(_score_features)
        learned = learn_for_each(ray.get([sample.remote(d, checkpoint) for d in datasets]))
        return [score.remote(j, d, checkpoint) for j, d in zip(learned, datasets, strict=True)]
    given = name.partition(":")[0] in NEEDS_NO_CALIBRATION
    task = ray.remote(_score)
    scored_by = "oracle" if given else name
    results = ray.get([task.remote(scored_by, d, checkpoint, scores) for d in datasets])
    calibrations = judges.calibrate([s for s, _ in results], [answers for _, answers in results])
    judgings = []
    for (scored, _), calibration in zip(results, calibrations, strict=True):
        if name.startswith("noisy:"):
            judgings.append(Judging(None, calibration))
        elif given or not calibrated:
            judgings.append(Judging(scored, calibration))
        else:
            judgings.append(Judging(calibration.apply(scored), calibration))
    return [ray.put(judging) for judging in judgings]


def scores_of(
    judge: str, dataset: ReplayDataset, spec: CheckpointSpec, scores: Scores
) -> ScoredPairs:
    """Score all pairs of a problem, as the judge does, before any calibration.

    Raises:
        UserError: the judge is `recorded`, and no scores of this problem are.
    """
    match judge:
        case "oracle":
            return judges.oracle(dataset.answers)
        case "tfidf":
            return judges.tfidf(dataset.prefixes(spec))
        case "embeddings":
            from training.offline.embeddings import embed

            prefixes = dataset.prefixes(spec)
            return judges.similarity(tuple(prefixes), embed(list(prefixes.values())))
        case "recorded":
            key = (dataset.problem.problem_id, dataset.model, str(spec))
            if key not in scores:
                raise UserError(
                    f"no recorded scores of {key[0]} by {key[1] or 'no model'} at {key[2]}"
                )
            return judges.recorded(dataset.samples, scores[key].p_same, scores[key].reads)
        case _:
            raise AssertionError(f"no judge {judge!r}")


def feature_sample(dataset: ReplayDataset, spec: CheckpointSpec) -> Sample:
    """Pairs of a recorded problem that a feature judge may learn from."""
    prefixes = dataset.prefixes(spec)
    answered = [sample for sample in prefixes if dataset.answers[sample] is not None]
    first, second = np.triu_indices(len(answered), 1)
    answers = np.array([dataset.answers[sample] for sample in answered], dtype=object)
    same = np.asarray(answers[first] == answers[second], dtype=np.bool_)
    texts = [prefixes[sample] for sample in answered]
    return sampled(dataset.problem.text, texts, first, second, same)


def noisy_scores(
    judge: str, dataset: ReplayDataset, calibration: Calibration, seed: int
) -> ScoredPairs:
    """The scores of `noisy:AUROC`, drawn anew for each seed."""
    digest = hashlib.blake2b(f"{dataset.problem.problem_id}/{seed}".encode(), digest_size=4)
    return judges.noisy(
        dataset.answers,
        float(judge.partition(":")[2]),
        calibration.base_rate,
        int.from_bytes(digest.digest()),
    )


def informed(policy: PolicyConfig, judge: str, calibration: Calibration) -> PolicyConfig:
    """The policy, told what is known of its judge, as far as its own settings leave that open."""
    if not isinstance(policy, PlusConfig):
        return policy
    auroc = calibration.auroc
    if judge.startswith("noisy:"):
        auroc = float(judge.partition(":")[2])
    if judge == "oracle":
        auroc = 1.0
    known = {
        "base_rate": min(max(calibration.base_rate, judges.LEAST_RATE), 1 - judges.LEAST_RATE),
        "auroc": auroc,
    }
    open_ = {name: value for name, value in known.items() if getattr(policy, name) is None}
    return policy.model_copy(update=open_)


def load_scores(paths: Sequence[Path]) -> Scores:
    """Read recorded scores of run folders, folders of parts and files.

    Of a live sweep with several seeds, the scores of the first count: a recording has its traces.

    Raises:
        UserError: a path holds none, or is damaged.
    """
    required = [name for name in SCORE_COLUMNS if name not in ("reads", "cell")]
    scores: dict[tuple[str, str, str], RecordedScores] = defaultdict(RecordedScores)
    seeds: dict[tuple[str, str, str], int] = {}
    for path in paths:
        for file in source_files(path, "scores"):
            for row in read_rows(file, SCORE_COLUMNS, required):
                key = (row["problem_id"], row["model"] or "", row["checkpoint"])
                seed = seed_of(row.get("cell")) or 0
                if seed > seeds.setdefault(key, seed):
                    continue
                if seed < seeds[key]:
                    seeds[key], scores[key] = seed, RecordedScores()
                known = scores[key]
                known.reads = row.get("reads") or "pairs"
                known.p_same[row["first"], row["second"]] = row["p_same"]
    return dict(scores)


def _score(
    judge: str, dataset: ReplayDataset, checkpoint: CheckpointSpec, scores: Scores
) -> tuple[ScoredPairs, dict[int, str | None]]:
    return scores_of(judge, dataset, checkpoint, scores), dataset.answers


def _score_features(
    judge: FeatureJudge | None, dataset: ReplayDataset, checkpoint: CheckpointSpec
) -> Judging:
    if judge is None:  # nothing to learn from: a judge that says nothing
        samples = dataset.samples
        unknown = np.full((len(samples), len(samples)), 0.5)
        return Judging(ScoredPairs(samples, unknown, "nothing"), Calibration(1.0, 0.0, 0.5, 0.5))
    scored = judge.score(dataset.problem.text, dataset.prefixes(checkpoint))
    return Judging(scored, judge.calibration)
