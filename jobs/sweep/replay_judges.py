"""Judges for replays by name: score all pairs of recorded problems, and calibrate the scores."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepprune import judges
from deepprune.checkpoints import CheckpointSpec
from deepprune.errors import UserError
from deepprune.feature_judge import FeatureJudge, Sample, learn_for_each, sampled
from deepprune.judges import Calibration, Judging, ScoredPairs
from deepprune.policy_config import JudgingConfig, PlusConfig, PolicyConfig
from deepprune.replay_dataset import ReplayDataset
from deepprune.sweep_config import BLIND, SweepCell
from jobs.sweep.encoder_scores import score_with_encoder
from jobs.sweep.recorded_scores import RecordedScores
from jobs.sweep.workers import Workers, results

logger = logging.getLogger(__name__)


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

    def resolved(self, base: Path) -> JudgeSpec:
        """With the folder as an absolute path, where the judge is one: as given, else in `base`.

        Raises:
            UserError: there is no such folder.
        """
        kind, _, folder = self.name.partition(":")
        if kind not in ("features", "encoder") or not folder:
            return self
        for path in (Path(folder).expanduser(), base / folder):
            if path.is_dir():
                return self._replace(name=f"{kind}:{path.absolute()}")
        raise UserError(f"judges: there is no folder {folder}")


NEEDS_NO_CALIBRATION = ("oracle", "noisy", BLIND)
KNOWN_AUROC = {"oracle": 1.0, BLIND: 0.5}


def judge_all(
    spec: JudgeSpec,
    datasets: Sequence[ReplayDataset],
    recorded: Sequence[RecordedScores | None],
    workers: Workers,
    *,
    calibrated: bool,
) -> list[Judging]:
    """Score every problem with a judge; with `calibrated`, calibrate its scores by the others.

    `recorded` has the scores of each problem that were taken down, for the judge `recorded`.

    Raises:
        UserError: the judge cannot score a problem.
    """
    name, checkpoint = spec
    kind, _, folder = name.partition(":")
    if name == "features":
        sample = partial(feature_sample, spec=checkpoint)
        learned = learn_for_each(results(workers, sample, datasets))
        judged = list(zip(learned, datasets, strict=True))
        return results(workers, partial(_score_features, checkpoint=checkpoint), judged)
    if kind == "features":
        judge = FeatureJudge.load(Path(folder))
        judged = [(judge, dataset) for dataset in datasets]
        return results(workers, partial(_score_features, checkpoint=checkpoint), judged)
    if kind == "encoder":
        encode = partial(score_with_encoder, folder, checkpoint=checkpoint)
        return results(workers, encode, datasets)
    given = kind in NEEDS_NO_CALIBRATION
    score = partial(scores_of, "oracle" if given else name, spec=checkpoint)
    found = results(workers, score, list(zip(datasets, recorded, strict=True)))
    answers = [dataset.answers for dataset in datasets]
    calibrations = judges.calibrate(found, answers)
    judgings = []
    for scored, calibration in zip(found, calibrations, strict=True):
        if kind == "noisy":
            judgings.append(Judging(None, calibration))
        elif name == BLIND:
            blind = judges.blind(scored.samples, calibration.base_rate)
            judgings.append(Judging(blind, calibration))
        elif given or not calibrated:
            judgings.append(Judging(scored, calibration))
        else:
            judgings.append(Judging(calibration.apply(scored), calibration))
    if name == "recorded":
        judgings = completed(judgings)
    return judgings


def completed(judgings: Sequence[Judging]) -> list[Judging]:
    """Give pairs that were not scored the base rate, which says nothing; warn of them."""
    completed, num_missing, num_pairs = [], 0, 0
    for scored, calibration in judgings:
        assert scored is not None
        off_diagonal = ~np.eye(len(scored.samples), dtype=np.bool_)
        missing = np.isnan(scored.matrix) & off_diagonal
        num_missing += int(missing.sum()) // 2
        num_pairs += int(off_diagonal.sum()) // 2
        matrix = np.where(missing, calibration.base_rate, scored.matrix)
        completed.append(Judging(replace(scored, matrix=matrix), calibration))
    if num_missing:
        logger.warning(
            "%d of %d pairs have no recorded score: the judge says nothing of them",
            *(num_missing, num_pairs),
        )
    return completed


def scores_of(
    judge: str, problem: tuple[ReplayDataset, RecordedScores | None], spec: CheckpointSpec
) -> ScoredPairs:
    """Score all pairs of a problem, as the judge does, before any calibration."""
    dataset, recorded = problem
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
            if recorded is None:
                return judges.unknown(dataset.samples)
            return recorded.matrix_of(dataset.samples)
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
    auroc, base_rate = calibration.auroc, calibration.base_rate
    if judge.startswith("noisy:"):
        auroc = float(judge.partition(":")[2])
    if judge in KNOWN_AUROC:
        auroc = KNOWN_AUROC[judge]
    known = {
        "base_rate": min(max(base_rate, judges.LEAST_RATE), 1 - judges.LEAST_RATE),
        "auroc": auroc,
    }
    open_ = {name: value for name, value in known.items() if getattr(policy, name) is None}
    return policy.model_copy(update=open_)


def _score_features(
    judged: tuple[FeatureJudge | None, ReplayDataset], checkpoint: CheckpointSpec
) -> Judging:
    judge, dataset = judged
    if judge is None:  # nothing to learn from: a judge that says nothing
        return Judging(judges.blind(dataset.samples, 0.5), Calibration(1.0, 0.0, 0.5, 0.5))
    scored = judge.score(dataset.problem.text, dataset.prefixes(checkpoint))
    return Judging(scored, judge.calibration)
