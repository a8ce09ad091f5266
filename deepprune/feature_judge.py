"""The feature judge: logistic regression on the features of a pair of prefixes.

It needs no language model: reading a prefix takes milliseconds of a CPU. It learns from problems
whose answers are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepprune.errors import UserError
from deepprune.judges import Calibration, LabelledScores, ScoredPairs, fit_calibration
from deepprune.pair_features import ALL, feature_names, pair_features
from deepprune.section import Section
from deepprune.statistics import Bools, Floats, Ints, sigmoid

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

    features: Floats
    same: Bools
    weight: Floats


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

    def logits(self, features: Floats) -> Floats:
        """Uncalibrated log-odds (...,) of features (..., F)."""
        unit = (features - np.array(self.mean)) / np.array(self.scale)
        logits: Floats = unit @ np.array(self.weights) + self.intercept
        return logits

    def score(self, problem: str, prefixes: Mapping[int, str]) -> ScoredPairs:
        """P(same) of all pairs of a problem's prefixes, by sample.

        Raises:
            UserError: it was learned with other features than this version computes.
        """
        matrix = self._p_same(problem, list(prefixes.values()), ALL)
        return ScoredPairs(tuple(prefixes), matrix, "nothing")

    def p_same(self, problem: str, firsts: Sequence[str], second: str) -> tuple[float, ...]:
        """P(same) of the prefix `second` with each of `firsts`.

        Raises:
            UserError: as `score`.
        """
        column = self._p_same(problem, [*firsts, second], slice(len(firsts), None))
        return tuple(column[:-1, 0].tolist())

    def _p_same(self, problem: str, prefixes: Sequence[str], columns: slice) -> Floats:
        found = pair_features(problem, prefixes, columns)
        if tuple(found) != self.names:
            raise UserError(
                "the feature judge was learned with other features than this version has: "
                "learn it again"
            )
        logits = self.logits(np.stack(list(found.values()), axis=-1))
        p_same: Floats = sigmoid(self.calibration.slope * logits + self.calibration.intercept)
        return p_same

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
            raise UserError(
                f"{folder} holds no feature judge: learn one with `deepprune cheap`"
            ) from None


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

    Its calibration is cross-fitted: each problem is scored by a fit on other problems.
    """
    fitted = _fit(samples)
    if fitted is None:
        return None
    fold_of = _dealt(len(samples), folds)
    held = []
    for fold in range(fold_of.max() + 1):
        other = _fit([s for s, of in zip(samples, fold_of, strict=True) if of != fold])
        if other is not None:
            held += [
                LabelledScores(other.logits(sample.features), sample.same, sample.weight)
                for sample, of in zip(samples, fold_of, strict=True)
                if of == fold
            ]
    agreeing = sum(sample.weight[sample.same].sum() for sample in samples)
    base_rate = float(agreeing / sum(sample.weight.sum() for sample in samples))
    calibration = replace(fit_calibration(held), base_rate=base_rate)
    return fitted.model_copy(update={"calibration": calibration})


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


def _fit(samples: Sequence[Sample]) -> FeatureJudge | None:
    """A judge that is not calibrated yet; None where a class is missing."""
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
    return FeatureJudge(
        names=feature_names(),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(fit.coef_[0].tolist()),
        intercept=float(fit.intercept_[0]),
        calibration=Calibration(1.0, 0.0, 0.5, 0.5),
    )


def _dealt(num: int, folds: int) -> Ints:
    """(num,): a fold for each problem."""
    return np.random.default_rng(0).permutation(num) % max(1, min(folds, num))
