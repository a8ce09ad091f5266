"""The data of an evaluation: judges with their scores, and groups of pairs by their origin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepprune.statistics import Bools, Floats, Platt, log_odds
from jobs.render.text import one_line
from training.offline.evaluation import Evaluation, evaluate
from training.pairs.data import PairSet

ALL, UNFINISHED = "all pairs", "neither trace ended"


@dataclass(frozen=True)
class Judged:
    """A judge and its P(same) of all pairs.

    `tau` is its threshold, `base_rate` the share of validation pairs that agree (None without
    validation pairs), `scale` the calibration of its log-odds on them. `num_tokens` counts the
    tokens that its language model read, before any cache.
    """

    name: str
    p_same: Floats
    tau: float
    base_rate: float | None
    scale: Platt
    seconds: float
    num_tokens: int

    @property
    def logits(self) -> Floats:
        """(pairs,): calibrated log-odds of P(same)."""
        return self.scale.logits(log_odds(self.p_same))


@dataclass(frozen=True)
class Place:
    """A group of pairs, with the figures of each judge on it."""

    name: str
    subset: str
    pairs: PairSet
    scores: tuple[Floats, ...]
    figures: tuple[Evaluation, ...]


def places(judged: Sequence[Judged], pairs: PairSet) -> Iterator[Place]:
    """Group the pairs by model and benchmark, and all together; each with and without ended traces.

    Groups in which one of the classes is missing are left out.
    """
    for name, mask in _origins(pairs):
        for subset, inside in ((ALL, mask), (UNFINISHED, mask & pairs.unfinished)):
            some = pairs[inside]
            if some.only_class is None:
                scores = tuple(judge.p_same[inside] for judge in judged)
                figures = tuple(
                    evaluate(some, p_same, judge.tau)
                    for judge, p_same in zip(judged, scores, strict=True)
                )
                yield Place(name, subset, some, scores, figures)


def _origins(pairs: PairSet) -> Iterator[tuple[str, Bools]]:
    keys = [(p.model, p.benchmark) for p in pairs.prefixes]
    known = sorted({keys[i] for i in pairs.first})
    if len(known) > 1:
        yield "all together", np.ones(len(pairs), dtype=np.bool_)
    for model, benchmark in known:
        of = np.array([key == (model, benchmark) for key in keys], dtype=np.bool_)
        yield one_line(f"{model or 'unnamed model'} on {benchmark}", 120), of[pairs.first]
