"""Judges for replays by name: the scores of all pairs of a recorded problem."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepprune import judges
from deepprune.checkpoints import CheckpointSpec
from deepprune.config import Reads
from deepprune.errors import UserError
from deepprune.feature_judge import Sample, sampled
from deepprune.judges import Calibration, ScoredPairs
from deepprune.policy_config import PlusConfig, PolicyConfig
from deepprune.replay_dataset import Material


@dataclass
class Recorded:
    """P(same) of a problem's pairs by (first, second), and what was read for all of them."""

    reads: Reads = "pairs"
    p_same: dict[tuple[int, int], float] = field(default_factory=dict)


Scores = Mapping[tuple[str, str, str], Recorded]
"""Recorded scores by (problem id, model, checkpoint)."""

NEEDS_NO_CALIBRATION = ("oracle", "noisy")


def scores_of(judge: str, material: Material, spec: CheckpointSpec, scores: Scores) -> ScoredPairs:
    """Score all pairs of a problem, as the judge does, before any calibration.

    Raises:
        UserError: the judge is `recorded`, and no scores of this problem are.
    """
    match judge:
        case "oracle":
            return judges.oracle(material.answers)
        case "tfidf":
            return judges.tfidf(material.prefixes(spec))
        case "embeddings":
            from training.offline.embeddings import embed

            prefixes = material.prefixes(spec)
            return judges.similarity(tuple(prefixes), embed(list(prefixes.values())))
        case "recorded":
            key = (material.problem.problem_id, material.model, str(spec))
            if key not in scores:
                raise UserError(
                    f"no recorded scores of {key[0]} by {key[1] or 'no model'} at {key[2]}"
                )
            return judges.recorded(material.samples, scores[key].p_same, scores[key].reads)
        case _:
            raise AssertionError(f"no judge {judge!r}")


def feature_sample(material: Material, spec: CheckpointSpec) -> Sample:
    """Pairs of a recorded problem that a feature judge may learn from."""
    prefixes = material.prefixes(spec)
    answered = [sample for sample in prefixes if material.answers[sample] is not None]
    first, second = np.triu_indices(len(answered), 1)
    answers = np.array([material.answers[sample] for sample in answered], dtype=object)
    same = np.asarray(answers[first] == answers[second], dtype=np.bool_)
    texts = [prefixes[sample] for sample in answered]
    return sampled(material.problem.text, texts, first, second, same)


def noisy_scores(
    judge: str, material: Material, calibration: Calibration, seed: int
) -> ScoredPairs:
    """The scores of `noisy:AUROC`, drawn anew for each seed."""
    digest = hashlib.blake2b(f"{material.problem.problem_id}/{seed}".encode(), digest_size=4)
    return judges.noisy(
        material.answers,
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


def load_scores(paths: list[Path]) -> Scores:
    """Read recorded scores of run folders and Parquet files.

    Raises:
        UserError: a path holds none, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    scores: dict[tuple[str, str, str], Recorded] = defaultdict(Recorded)
    for path in paths:
        source = path / "scores" if (path / "scores").is_dir() else path
        columns = ["problem_id", "model", "checkpoint", "first", "second", "p_same"]
        try:
            dataset = ds.dataset(source)
            columns += ["reads"] if "reads" in dataset.schema.names else []
            rows = dataset.to_table(columns=columns).to_pylist()
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{path} cannot be read as recorded scores: {reason}") from None
        for row in rows:
            known = scores[row["problem_id"], row["model"] or "", row["checkpoint"]]
            known.reads = row.get("reads") or "pairs"
            known.p_same[row["first"], row["second"]] = row["p_same"]
    return dict(scores)
