"""Judges for recorded traces: perfect, deliberately imperfect, by text similarity, or recorded.

Each scores all pairs of a problem's traces at once, as a matrix of P(same). What a similarity
means as a probability is learned from other problems (`calibrate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from deepprune.config import Reads
from deepprune.statistics import Bools, Floats, Ints, auroc, fit_platt, log_odds, sigmoid

LEAST_RATE = 0.02
"""Base rates are kept this far from 0 and 1, since few problems cannot show more."""
PAIRS_PER_PROBLEM = 2000
"""Pairs of a problem that take part in a calibration, at most."""


@dataclass(frozen=True)
class ScoredPairs:
    """P(same) of all pairs of a problem's samples: `matrix[i, j]` of `samples[i]`, `samples[j]`.

    A pair without a score is NaN.
    """

    samples: tuple[int, ...]
    matrix: Floats
    reads: Reads = "pairs"
    _index: dict[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {sample: i for i, sample in enumerate(self.samples)})

    def p_same(self, second: int, firsts: Sequence[int]) -> Sequence[float]:
        """P(same) of sample `second` with each of `firsts`.

        Raises:
            KeyError: a pair has no score.
        """
        row = self._index[second]
        scores: list[float] = self.matrix[[self._index[first] for first in firsts], row].tolist()
        for first, score in zip(firsts, scores, strict=True):
            if math.isnan(score):
                raise KeyError(f"no score of samples {first} and {second}")
        return scores


def oracle(answers: Mapping[int, str | None]) -> ScoredPairs:
    """Knows the final answers; costs nothing. Traces without an answer agree with none."""
    same = _same(answers)
    return ScoredPairs(tuple(answers), np.where(same, 1.0 - 1e-6, 1e-6), "nothing")


def blind(samples: Sequence[int], base_rate: float) -> ScoredPairs:
    """Gives each pair the same score, `base_rate`: the control of every judge; costs nothing."""
    matrix = np.full((len(samples), len(samples)), base_rate)
    return ScoredPairs(tuple(samples), matrix, "nothing")


def unknown(samples: Sequence[int]) -> ScoredPairs:
    """Has no score of any pair."""
    return ScoredPairs(tuple(samples), np.full((len(samples), len(samples)), np.nan))


def noisy(
    answers: Mapping[int, str | None],
    auroc: float,
    base_rate: float,
    seed: int,
    shared: float = 0.5,
) -> ScoredPairs:
    """An oracle with noise, of a given AUROC, and calibrated at `base_rate`.

    The log-odds of a pair are normal with one mean for pairs that agree and another for those that
    do not; a `base_rate` of 0 or 1 is taken for nearly so. The share `shared` of the noise's
    variance comes from the two traces and is common to all their pairs: a prefix that misleads the
    judge misleads it about every partner.
    """
    separation = math.sqrt(2) * NormalDist().inv_cdf(auroc)
    rng = np.random.default_rng(seed)
    same = _same(answers)
    by_trace = rng.normal(size=len(answers))
    by_pair = rng.normal(size=same.shape)
    by_pair = np.triu(by_pair, 1) + np.triu(by_pair, 1).T
    noise = math.sqrt(shared / 2) * (by_trace[:, None] + by_trace[None, :])
    noise = noise + math.sqrt(1 - shared) * by_pair
    evidence = separation * noise + np.where(same, 1, -1) * separation**2 / 2
    rate = min(max(base_rate, LEAST_RATE), 1 - LEAST_RATE)
    logits = evidence + math.log(rate / (1 - rate))
    return ScoredPairs(tuple(answers), sigmoid(logits), "pairs")


def tfidf(prefixes: Mapping[int, str]) -> ScoredPairs:
    """Cosine similarity of the prefixes' TF-IDF vectors, words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    vectors = vectorizer.fit_transform(prefixes.values())
    return ScoredPairs(tuple(prefixes), np.asarray((vectors @ vectors.T).todense()), "prefixes")


def similarity(samples: Sequence[int], vectors: Floats) -> ScoredPairs:
    """Cosine similarity of one vector for each prefix, (samples, dimensions)."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return ScoredPairs(tuple(samples), unit @ unit.T, "prefixes")


def recorded(
    samples: Sequence[int], first: Ints, second: Ints, p_same: Floats, reads: Reads = "pairs"
) -> ScoredPairs:
    """Scores taken down earlier, (pairs,) each; one for either order serves for both."""
    known = np.array(samples, dtype=np.int64)
    order = np.argsort(known)
    row, column = (
        order[np.searchsorted(known, side, sorter=order) % len(known)] for side in (first, second)
    )
    there = (known[row] == first) & (known[column] == second)
    matrix = np.full((len(known), len(known)), np.nan)
    matrix[row[there], column[there]] = p_same[there]
    return ScoredPairs(tuple(samples), np.where(np.isnan(matrix), matrix.T, matrix), reads)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a judge's scores mean: log-odds of P(same) = slope x log-odds of the score + intercept.

    `base_rate` is how often two traces of a problem agree, and `auroc` the mean over problems of
    the judge's AUROC within a problem, both on the pairs it was learned from.
    """

    slope: float
    intercept: float
    base_rate: float
    auroc: float

    def apply(self, scored: ScoredPairs) -> ScoredPairs:
        """The same pairs, with P(same) for scores."""
        return replace(
            scored, matrix=sigmoid(self.slope * log_odds(scored.matrix) + self.intercept)
        )


class Judging(NamedTuple):
    """The scores of a problem's pairs (None: drawn anew for each seed), and what they mean."""

    scored: ScoredPairs | None
    calibration: Calibration


def calibrate(
    pairs: Sequence[ScoredPairs], answers: Sequence[Mapping[int, str | None]], folds: int = 5
) -> list[Calibration]:
    """One calibration for each problem, learned from other problems (Platt scaling).

    Problems are dealt into folds, and those of a fold are calibrated on all others, so that no
    problem is judged by its own answers. Where nothing can be learned, for want of a second problem
    or of pairs of both kinds, scores stay as they are.
    """
    rng = np.random.default_rng(0)
    known = [_labelled(scored, of, rng) for scored, of in zip(pairs, answers, strict=True)]
    fold_of = rng.permutation(len(pairs)) % min(folds, len(pairs))
    by_fold = [
        fit_calibration([known[i] for i in range(len(pairs)) if fold_of[i] != fold])
        for fold in range(fold_of.max(initial=-1) + 1)
    ]
    return [by_fold[fold] for fold in fold_of]


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Scored pairs of one problem: log-odds, whether the pair agrees, and a weight, (pairs,)."""

    logits: Floats
    same: Bools
    weight: Floats


def fit_calibration(problems: Sequence[LabelledScores]) -> Calibration:
    """The calibration that the pairs of some problems give."""
    logits = np.concatenate([np.zeros(0), *(p.logits for p in problems)])
    same = np.concatenate([np.zeros(0, dtype=np.bool_), *(p.same for p in problems)])
    weight = np.concatenate([np.zeros(0), *(p.weight for p in problems)])
    base_rate = float(np.average(same, weights=weight)) if len(same) else 0.5
    platt = fit_platt(logits, same, weight)
    found = [auroc(p.same, p.logits, p.weight) for p in problems]
    within = [value for value in found if not math.isnan(value)]
    mean = min(max(float(np.mean(within)), 0.5), 1.0) if within else 0.5
    return Calibration(platt.slope, platt.shift, base_rate, mean)


def _labelled(
    scored: ScoredPairs, answers: Mapping[int, str | None], rng: np.random.Generator
) -> LabelledScores:
    """A problem's pairs, at most PAIRS_PER_PROBLEM of them."""
    valid = [i for i, sample in enumerate(scored.samples) if answers[sample] is not None]
    first, second = np.triu_indices(len(valid), 1)
    if len(first) > PAIRS_PER_PROBLEM:
        chosen = rng.choice(len(first), PAIRS_PER_PROBLEM, replace=False)
        first, second = first[chosen], second[chosen]
    at = np.array(valid, dtype=np.int64)
    scores = scored.matrix[at[first], at[second]] if valid else np.zeros(0)
    same = _same({sample: answers[sample] for sample in scored.samples})
    labels = same[at[first], at[second]] if valid else np.zeros(0, dtype=np.bool_)
    known = ~np.isnan(scores)
    return LabelledScores(log_odds(scores[known]), labels[known], np.ones(int(known.sum())))


def _same(answers: Mapping[int, str | None]) -> Bools:
    """(n, n): whether two traces gave the same answer; no answer is like no other."""
    names = {answer: code for code, answer in enumerate(dict.fromkeys(answers.values()))}
    codes = np.array([names[answer] for answer in answers.values()], dtype=np.int64)
    valid = np.array([answer is not None for answer in answers.values()], dtype=np.bool_)
    same: Bools = (codes[:, None] == codes[None, :]) & valid[:, None]
    return same
