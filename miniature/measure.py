"""The figures that the model cards quote: of the reasoner, of its judges, and of pruning."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from deepprune.grading import num_correct
from deepprune.judges import recorded
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.recordings import RecordedTrace, Recording
from deepprune.replay_dataset import ReplayDataset
from deepprune.statistics import (
    Floats,
    auroc,
    calibration_error,
    grouped,
    per_problem_auroc,
    sigmoid,
    tnr_at_fnr,
)
from deepprune.voting import Vote, group_answers
from miniature import CHECKPOINT, CHECKPOINT_TOKENS
from miniature.sample import Sampled
from training.offline.scoring import open_judge
from training.pairs.data import PairSet, Prefix

BENCHMARK = "miniature"
MODEL = "miniature/reasoner"
MAX_MEMBERS = 3
"""Members of a cluster that a new trace is compared with."""


def measure_reasoner(sampled: Sequence[Sampled]) -> dict[str, float]:
    """Accuracy of one trace and of the majority, agreement of pairs, length, boxed share."""
    traces = [(item.problem, trace) for item in sampled for trace in item.traces]
    return {
        "num_problems": len(sampled),
        "num_traces": len(sampled[0].traces),
        "single_accuracy": statistics.mean(t.answer == p.reference for p, t in traces),
        "majority_accuracy": statistics.mean(
            Vote((t.sample, t.answer) for t in item.traces).answer == item.problem.reference
            for item in sampled
        ),
        "same_pair_share": statistics.mean(map(agreement, sampled)),
        "mean_tokens": statistics.mean(t.num_tokens for _, t in traces),
        "boxed_share": statistics.mean(t.answer is not None for _, t in traces),
    }


def agreement(item: Sampled) -> float:
    """The share of pairs of a problem's traces with the same answer."""
    groups = group_answers([trace.answer for trace in item.traces])
    return statistics.mean(a == b is not None for a, b in combinations(groups, 2))


def all_pairs(
    sampled: Sequence[Sampled], tokenizer: PreTrainedTokenizerFast, *, unanswered: bool = False
) -> PairSet:
    """Every pair of traces of a problem, cut at the sampled tokens themselves.

    Traces that gave no answer agree with none; they are left out unless `unanswered`.
    """
    prefixes: list[Prefix] = []
    pairs = []
    for item in sampled:
        placed = []
        for trace, ids in zip(item.traces, item.token_ids, strict=True):
            if trace.answer is None and not unanswered:
                continue
            placed.append((len(prefixes), trace.answer))
            text = str(tokenizer.decode(ids[:CHECKPOINT_TOKENS], skip_special_tokens=True))
            ended = len(ids) <= CHECKPOINT_TOKENS
            problem = item.problem
            prefixes.append(
                Prefix(
                    BENCHMARK, problem.problem_id, MODEL, trace.sample, problem.text, text, ended
                )
            )
        pairs += [(i, j, a == b is not None) for (i, a), (j, b) in combinations(placed, 2)]
    first, second, same = (np.array(column) for column in zip(*pairs, strict=True))
    return PairSet(prefixes, first, second, same, np.ones(len(pairs), dtype=np.int64))


def drawn_pairs(pairs: PairSet, per_problem: int, seed: int) -> PairSet:
    """Some pairs of each problem, either trace first."""
    rng = random.Random(f"pairs-{seed}")
    chosen, swapped = [], []
    for every in grouped(pairs.problem):
        for pair in rng.sample(every.tolist(), min(per_problem, len(every))):
            chosen.append(pair)
            swapped.append(rng.random() < 0.5)
    drawn, swap = pairs[np.array(chosen)], np.array(swapped)
    first, second = np.where(swap, (drawn.second, drawn.first), (drawn.first, drawn.second))
    return PairSet(drawn.prefixes, first, second, drawn.same, drawn.copies)


def scores_of(judge: Path, pairs: PairSet) -> Floats:
    """(pairs,): P(same) by the judge in a folder."""
    return sigmoid(open_judge(str(judge), pairs, None).score(pairs, lambda num_pairs: None))


def measure_judge(pairs: PairSet, p_same: Floats) -> dict[str, float]:
    """Ranking (pooled and within problems), rejection at a fixed miss rate, calibration."""
    within = list(per_problem_auroc(pairs.same, p_same, pairs.problem, least=1).values())
    return {
        "num_pairs": len(pairs),
        "same_share": float(pairs.same.mean()),
        "auroc": auroc(pairs.same, p_same),
        "auroc_within": float(np.mean(within)),
        "num_contested_problems": len(within),
        "tnr": tnr_at_fnr(pairs.same, p_same, fnr=0.2),
        "expected_calibration_error": calibration_error(pairs.same, p_same),
    }


def measure_pruning(
    sampled: Sequence[Sampled], pairs: PairSet, p_same: Floats, tau: float
) -> dict[str, float]:
    """Accuracy and token share of the paper's rules, beside the majority of all traces.

    `all` runs every trace to its checkpoint at once, `lazy` launches one trace after another.
    """
    samples = np.array([prefix.sample for prefix in pairs.prefixes], dtype=np.int64)
    problem_ids = np.array([prefix.problem_id for prefix in pairs.prefixes])[pairs.first]
    scores = {
        str(problem_id): (samples[pairs.first[of]], samples[pairs.second[of]], p_same[of])
        for problem_id in dict.fromkeys(problem_ids)
        for of in [problem_ids == problem_id]
    }
    num_traces = len(sampled[0].traces)
    materials = [ReplayDataset(_recording(item)) for item in sampled]
    full = [material.replay(ConsConfig(num_traces=num_traces)) for material in materials]
    figures = {"num_problems": len(sampled), "cons_accuracy": num_correct(full)[0] / len(full)}
    for name, wave in (("all", num_traces), ("lazy", 1)):
        policy = DeepPruneConfig(
            num_traces=num_traces,
            checkpoint=CHECKPOINT,
            tau=tau,
            max_members=MAX_MEMBERS,
            wave=wave,
            stop_when_decided=False,
        )
        runs = [
            material.replay(
                policy, judge=recorded(material.samples, *scores[material.problem.problem_id])
            )
            for material in materials
        ]
        tokens = sum(run.ledger.generated_tokens for run in runs)
        figures[f"{name}_accuracy"] = num_correct(runs)[0] / len(runs)
        figures[f"{name}_token_share"] = tokens / sum(run.ledger.generated_tokens for run in full)
        figures[f"{name}_launched"] = statistics.mean(run.ledger.launched_traces for run in runs)
    return figures


def _recording(item: Sampled) -> Recording:
    traces = (RecordedTrace(t.sample, t.text, t.num_tokens, t.answer) for t in item.traces)
    return Recording(item.problem, MODEL, tuple(traces))
