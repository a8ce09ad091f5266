"""From traces to labelled pairs, one problem at a time (Section 4.1.1): plain functions.

`training/build.py` runs them over a cluster. Every draw depends on the seed and the problem only,
so the same traces give the same pairs whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from deepprune.answers import equivalent, extract_answer
from deepprune.checkpoints import CheckpointSpec, truncate
from training.config import PairsConfig
from training.data import Split

Row = dict[str, Any]

CUT_OFF = frozenset({"length", "max_tokens"})
"""Finish reasons of traces that did not end by themselves."""


class Excluded(StrEnum):
    """Why a trace is in no pair (Appendix A): the reasons, as counted in the manifest."""

    NO_ANSWER = "no answer"
    CUT_OFF = "cut off"
    NOT_FINISHED = "cancelled or lost"
    SHORT = "ended before its checkpoint"


def prefixes_of(trace: Row, config: PairsConfig) -> tuple[list[Row], list[str]]:
    """The prefixes of one trace, one for each checkpoint, and why others are missing."""
    reason, answer = _valid(trace, config)
    if reason is not None:
        return [], [reason]
    prefixes: list[Row] = []
    reasons: list[str] = []
    for checkpoint in config.checkpoints:
        prefix = cut(trace, CheckpointSpec.parse(checkpoint, config.reasoning_words), config)
        if prefix is None and config.short_traces == "exclude":
            reasons.append(Excluded.SHORT)
            continue
        prefixes.append(
            {
                "benchmark": trace.get("benchmark") or trace["problem_id"].partition("/")[0],
                "problem_id": trace["problem_id"],
                "problem": trace["problem"],
                "model": trace.get("model"),
                "checkpoint": checkpoint,
                "sample": trace["sample"],
                "prefix": trace["text"] if prefix is None else prefix,
                "ended": prefix is None,
                "answer": answer,
            }
        )
    return prefixes, reasons


def cut(trace: Row, spec: CheckpointSpec, config: PairsConfig) -> str | None:
    """The prefix of a recorded trace; None where it ends before its checkpoint.

    Without the text of each token, `tokens:k` is placed by the trace's own characters per token,
    or by the configured ones where its number of tokens is not recorded.
    """
    chars_per_token = config.chars_per_token
    if trace.get("num_tokens") and trace["text"]:
        chars_per_token = len(trace["text"]) / trace["num_tokens"]
    return truncate(trace["text"], spec, chars_per_token=chars_per_token)


def pair_up(prefixes: Sequence[Row], config: PairsConfig, split: Split) -> list[Row]:
    """Pairs of one problem's prefixes by one model at one checkpoint, labelled (Section 4.1.1).

    All pairs, or as many as the configuration allows. In training a coin decides which trace is
    shown first; elsewhere it is the lower sample.
    """
    prefixes = sorted(prefixes, key=lambda row: int(row["sample"]))
    if len(prefixes) < 2:
        return []
    key = prefixes[0]
    rng = random.Random(f"{config.seed}/{key['problem_id']}/{key['model']}/{key['checkpoint']}")
    first, second = np.triu_indices(len(prefixes), 1)
    same = agreement([row["answer"] for row in prefixes])[first, second]
    rows = []
    for index in _chosen(same, config, rng):
        a, b = prefixes[first[index]], prefixes[second[index]]
        if split == "train" and rng.random() < 0.5:
            a, b = b, a
        rows.append(
            {
                **{name: key[name] for name in ("benchmark", "problem_id", "model", "checkpoint")},
                "first": a["sample"],
                "second": b["sample"],
                "same": bool(same[index]),
                "unfinished": not (a["ended"] or b["ended"]),
                "split": split,
            }
        )
    return rows


def agreement(answers: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(n, n): which answers are mathematically equivalent, each two different ones asked once."""
    names = list(dict.fromkeys(answers))
    of = np.array([names.index(answer) for answer in answers], dtype=np.int64)
    same = np.eye(len(names), dtype=np.bool_)
    for i, a in enumerate(names):
        for j in range(i):
            same[i, j] = same[j, i] = equivalent(a, names[j])
    agrees: npt.NDArray[np.bool_] = same[of[:, None], of[None, :]]
    return agrees


def problem_key(problem_id: str, problem: str | None) -> str:
    """What makes two problems the same: their text, for one may be in two benchmarks."""
    text = " ".join((problem or "").split()) or problem_id
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def split_problems(keys: Iterable[str], config: PairsConfig) -> dict[str, Split]:
    """A split for each problem's key: a shuffle by the seed, then shares, rounded.

    Whatever order or number of times the keys come in, and whatever the traces say, the same
    problems give the same split.
    """
    shuffled = sorted(set(keys))
    random.Random(f"split-{config.seed}").shuffle(shuffled)
    num_test = round(config.test * len(shuffled))
    num_validation = round(config.validation * len(shuffled))
    splits: dict[str, Split] = dict.fromkeys(shuffled, "train")
    splits.update(dict.fromkeys(shuffled[:num_test], "test"))
    splits.update(dict.fromkeys(shuffled[num_test : num_test + num_validation], "validation"))
    return splits


def _valid(trace: Row, config: PairsConfig) -> tuple[str | None, str | None]:
    """Why a trace is excluded, or its answer."""
    if trace.get("fate") not in (None, "finished"):
        return Excluded.NOT_FINISHED, None
    if trace.get("finish_reason") in CUT_OFF:
        return Excluded.CUT_OFF, None
    if config.answers == "recorded":
        answer = trace.get("answer")
    else:
        answer = extract_answer(trace["text"], config.answers)
    return (None, answer) if answer and answer.strip() else (Excluded.NO_ANSWER, None)


def _chosen(same: npt.NDArray[np.bool_], config: PairsConfig, rng: random.Random) -> list[int]:
    """Indices of the pairs to keep, ascending."""
    limit = config.pairs_per_problem or len(same)
    if not config.balanced:
        return sorted(rng.sample(range(len(same)), min(limit, len(same))))
    agreeing, differing = np.flatnonzero(same).tolist(), np.flatnonzero(~same).tolist()
    half = max(1, limit // 2)
    return sorted(
        rng.sample(agreeing, min(half, len(agreeing)))
        + rng.sample(differing, min(half, len(differing)))
    )


def class_counts(rows: Iterable[Row]) -> Counter[tuple[str, str, str, str, bool]]:
    """Pairs by benchmark, model, checkpoint, split and class: what the manifest counts."""
    return Counter(
        (row["benchmark"], row["model"] or "", row["checkpoint"], row["split"], row["same"])
        for row in rows
    )
