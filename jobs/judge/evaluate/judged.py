"""What an evaluation is about: judges with their scores, and pairs by where they come from."""

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
    """A judge, and the P(same) it gave the pairs.

    `tau` is its threshold, `base_rate` the share of validation pairs that agree (None where there
    are none), `scale` what these say its log-odds mean; `num_tokens` is what its language model
    read, before any cache.
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
    """Some of the pairs, with the figures of each judge on them."""

    name: str
    subset: str
    pairs: PairSet
    scores: tuple[Floats, ...]
    figures: tuple[Evaluation, ...]


def places(judged: Sequence[Judged], pairs: PairSet) -> Iterator[Place]:
    """Every model and benchmark, and all together; all pairs, and those that nothing had ended in.

    Where one of the classes is missing there is nothing to say, and no place.
    """
    for name, mask in _origins(pairs):
        for subset, inside in ((ALL, mask), (UNFINISHED, mask & pairs.unfinished)):
            some = pairs[inside]
            if some.same.any() and not some.same.all():
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
