"""Greedy clustering over recorded traces: what pruning would save and whether the answer stays.

A small stand-in for the real policies, so that a rebuilt judge is checked for what it is for.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepprune.traces import Trace
from miniature.judge_spec import CHECKPOINT_TOKENS
from miniature.judging import Judge, prefixes_of
from miniature.measure import majority
from miniature.sample import Sampled

MAX_CLUSTERS = 16
MEMBERS = 3
NUM_FINISH = 20
NUM_FINISH_SINGLETONS = 32

Score = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class Pruned:
    """The traces that finish and the tokens all of them cost together."""

    answer: str | None
    num_tokens: int
    num_launched: int


def prune(traces: Sequence[Trace], score: Score, tau: float, seed: int, lazy: bool) -> Pruned:
    """Cluster prefixes in order of arrival and finish the largest cluster.

    `score(a, b)` is P(same) of the prefixes of traces a and b, a the earlier. A lazy run launches
    traces one by one and stops once a cluster has all the members that would finish.
    """
    rng = random.Random(seed)
    clusters: list[list[int]] = []
    num_launched = len(traces)
    for new in range(len(traces)):
        means = [
            statistics.mean(score(old, new) for old in rng.sample(c, min(MEMBERS, len(c))))
            for c in clusters
        ]
        best = max(range(len(means)), key=means.__getitem__, default=0)
        if means and means[best] > tau:
            clusters[best].append(new)
            if lazy and len(clusters[best]) >= NUM_FINISH:
                num_launched = new + 1
                break
        else:
            clusters.append([new])
            if len(clusters) >= MAX_CLUSTERS:
                break
    largest = max(clusters, key=len)
    if len(largest) == 1:
        members = range(num_launched)
        finishing = rng.sample(members, min(NUM_FINISH_SINGLETONS, num_launched))
    else:
        finishing = largest[:NUM_FINISH]
    prefixes = (min(trace.num_tokens, CHECKPOINT_TOKENS) for trace in traces[:num_launched])
    rest = sum(max(0, traces[i].num_tokens - CHECKPOINT_TOKENS) for i in finishing)
    return Pruned(majority([traces[i] for i in finishing]), sum(prefixes) + rest, num_launched)


def score_table(judge: Judge, sampled: Sampled) -> Score:
    """P(same) of every pair of a problem's traces, asked once."""
    prefixes = prefixes_of(sampled, judge.tokenizer)
    pairs = list(itertools.combinations(range(len(prefixes)), 2))
    scores = judge.p_same([(prefixes[a], prefixes[b]) for a, b in pairs])
    table = dict(zip(pairs, scores, strict=True))
    return lambda a, b: table[a, b]


def simulate(sampled: Sequence[Sampled], scores: Sequence[Score], tau: float) -> dict[str, float]:
    """Accuracy and token share of pruning, beside the majority of all traces."""
    full = [sum(trace.num_tokens for trace in item.traces) for item in sampled]
    figures: dict[str, float] = {
        "num_problems": len(sampled),
        "cons_accuracy": _accuracy(sampled, [majority(item.traces) for item in sampled]),
    }
    for name, lazy in (("all", False), ("lazy", True)):
        runs = [
            prune(item.traces, score, tau, seed, lazy)
            for seed, (item, score) in enumerate(zip(sampled, scores, strict=True))
        ]
        figures[f"{name}_accuracy"] = _accuracy(sampled, [run.answer for run in runs])
        figures[f"{name}_token_share"] = sum(run.num_tokens for run in runs) / sum(full)
        figures[f"{name}_launched"] = statistics.mean(run.num_launched for run in runs)
    return figures


def _accuracy(sampled: Sequence[Sampled], answers: Sequence[str | None]) -> float:
    right = (a == item.problem.reference for a, item in zip(answers, sampled, strict=True))
    return statistics.mean(right)
