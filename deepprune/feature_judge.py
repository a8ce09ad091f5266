"""The feature judge: logistic regression on what two prefixes have in common.

It asks no model: reading a prefix takes milliseconds of a CPU. What it knows of agreement it learns
from other problems, where the answers are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepprune.errors import UserError
from deepprune.judges import Calibration, ScoredPairs
from deepprune.pair_features import feature_names, pair_features
from deepprune.section import Section

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FILE = "features.json"
PAIRS_PER_CLASS = 300
"""Pairs of a problem that it learns from, at most, of those that agree and of those that do not."""
STRENGTH = 0.01
"""Inverse of the regularisation; features are scaled to a variance of 1."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """Pairs of one problem to learn from: features (pairs, F), and whether they agree.

    `weight` makes up for a class having been sampled more densely than the other; it adds up to 1.
    """

    features: Array
    same: Bools
    weight: Array


class FeatureJudge(Section):
    """Log-odds of P(same) = slope x (weights · (features - mean) / scale + intercept) + shift.

    The regression sees both classes in like numbers; slope and shift make probabilities of it.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    calibration: Calibration
    tau: float | None = None
    """The threshold of P(same) that was chosen on held-out pairs."""

    def logits(self, features: Array) -> Array:
        """Uncalibrated log-odds (...,) of features (..., F)."""
        unit = (features - np.array(self.mean)) / np.array(self.scale)
        logits: Array = unit @ np.array(self.weights) + self.intercept
        return logits

    def score(self, problem: str, prefixes: Mapping[int, str]) -> ScoredPairs:
        """P(same) of all pairs of a problem's prefixes, by sample.

        Raises:
            UserError: it was learned with other features than this version computes.
        """
        found = pair_features(problem, list(prefixes.values()))
        if tuple(found) != self.names:
            raise UserError(
                "the feature judge was learned with other features than this version has: "
                "learn it again"
            )
        matrix = self.logits(np.stack(list(found.values()), axis=-1))
        slope, shift = self.calibration.slope, self.calibration.intercept
        p_same = 1 / (1 + np.exp(-np.clip(slope * matrix + shift, -12, 12)))
        return ScoredPairs(tuple(prefixes), p_same, "nothing")

    def p_same(self, problem: str, firsts: Sequence[str], second: str) -> tuple[float, ...]:
        """P(same) of the prefix `second` with each of `firsts`.

        Raises:
            UserError: as `score`.
        """
        scored = self.score(problem, dict(enumerate((*firsts, second))))
        return tuple(scored.p_same(len(firsts), range(len(firsts))))

    def save(self, folder: Path) -> None:
        """Write it as a folder that `load` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> FeatureJudge:
        """Read a saved one.

        Raises:
            UserError: the folder holds none.
        """
        try:
            return cls.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(f"{folder} holds no feature judge") from None


def sampled(
    problem: str, prefixes: Sequence[str], first: Ints, second: Ints, same: Bools, seed: int = 0
) -> Sample:
    """Some pairs of each class of a problem to learn from.

    Args:
        problem: its text.
        prefixes: n of them.
        first: (pairs,), the place of a pair's one prefix.
        second: (pairs,), that of the other.
        same: (pairs,), whether their traces agree.
        seed: of the draw.
    """
    if not len(same):
        return Sample(np.zeros((0, len(feature_names()))), same, np.zeros(0))
    rng = np.random.default_rng(seed)
    drawn, weight = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for kind in (True, False):
        of_kind = np.flatnonzero(same == kind)
        if len(of_kind):
            num = min(PAIRS_PER_CLASS, len(of_kind))
            drawn.append(rng.choice(of_kind, num, replace=False))
            weight.append(np.full(num, len(of_kind) / num / len(same)))
    index = np.concatenate(drawn)
    features = pair_features(problem, prefixes)
    table = np.stack([f[first[index], second[index]] for f in features.values()], axis=-1)
    return Sample(table, same[index], np.concatenate(weight))


def learn(samples: Sequence[Sample], folds: int = FOLDS) -> FeatureJudge | None:
    """A judge from some problems; None where these have no pairs of one of the classes.

    What its scores mean is learned on problems that it was not fitted on, by turns.
    """
    fitted = _Fit.of(samples)
    if fitted is None:
        return None
    return fitted.judge(_calibrated(samples, _dealt(len(samples), folds)))


def learn_for_each(samples: Sequence[Sample], folds: int = FOLDS) -> list[FeatureJudge | None]:
    """For each problem a judge that was learned, and calibrated, on other problems only."""
    if len(samples) < 2:
        return [None] * len(samples)
    fold_of = _dealt(len(samples), folds)
    judges = [
        learn([s for s, of in zip(samples, fold_of, strict=True) if of != fold], folds)
        for fold in range(fold_of.max() + 1)
    ]
    return [judges[fold] for fold in fold_of]


@dataclass(frozen=True, slots=True)
class _Fit:
    mean: Array
    scale: Array
    weights: Array
    intercept: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> _Fit | None:
        from sklearn.linear_model import LogisticRegression

        if not samples:
            return None
        features = np.concatenate([sample.features for sample in samples])
        same = np.concatenate([sample.same for sample in samples])
        if same.all() or not same.any():
            return None
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        fit = LogisticRegression(C=STRENGTH, max_iter=500).fit((features - mean) / scale, same)
        return cls(mean, scale, fit.coef_[0], float(fit.intercept_[0]))

    def logits(self, features: Array) -> Array:
        logits: Array = ((features - self.mean) / self.scale) @ self.weights + self.intercept
        return logits

    def judge(self, calibration: Calibration) -> FeatureJudge:
        return FeatureJudge(
            names=feature_names(),
            mean=tuple(self.mean.tolist()),
            scale=tuple(self.scale.tolist()),
            weights=tuple(self.weights.tolist()),
            intercept=self.intercept,
            calibration=calibration,
        )


def _calibrated(samples: Sequence[Sample], fold_of: npt.NDArray[np.int64]) -> Calibration:
    """Platt scaling of scores that each problem got from a fit on the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    same, weight = _labels(samples)
    base_rate = float(np.average(same, weights=weight)) if len(same) else 0.5
    logits: list[Array] = []
    held: list[Sample] = []
    for fold in range(fold_of.max(initial=-1) + 1):
        fitted = _Fit.of([s for s, of in zip(samples, fold_of, strict=True) if of != fold])
        if fitted is not None:
            here = [s for s, of in zip(samples, fold_of, strict=True) if of == fold]
            logits += [fitted.logits(sample.features) for sample in here]
            held += here
    same, weight = _labels(held)
    if not same.any() or same.all():
        return Calibration(1.0, 0.0, base_rate, 0.5)
    fit = LogisticRegression(C=1e6).fit(np.concatenate(logits)[:, None], same, weight)
    aurocs = [
        roc_auc_score(s.same, z, sample_weight=s.weight)
        for s, z in zip(held, logits, strict=True)
        if s.same.any() and not s.same.all()
    ]
    auroc = float(np.clip(np.mean(aurocs), 0.5, 1.0)) if aurocs else 0.5
    return Calibration(float(fit.coef_[0, 0]), float(fit.intercept_[0]), base_rate, auroc)


def _labels(samples: Sequence[Sample]) -> tuple[Bools, Array]:
    """Whether each pair agrees, and its weight."""
    same = [np.zeros(0, dtype=np.bool_), *(sample.same for sample in samples)]
    return np.concatenate(same), np.concatenate([np.zeros(0), *(s.weight for s in samples)])


def _dealt(num: int, folds: int) -> npt.NDArray[np.int64]:
    """(num,): a fold for each problem."""
    return np.random.default_rng(0).permutation(num) % max(1, min(folds, num))
