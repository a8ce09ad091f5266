"""From traces to labelled pairs, one problem at a time (Section 4.1.1): plain functions.

`training/pairs/build.py` runs them over a cluster. Every draw depends on the seed and the problem
only, so the same traces give the same pairs whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from deepprune.answers import extract_answer
from deepprune.answers.extract import CUT_OFF
from deepprune.checkpoints import CheckpointSpec, truncate
from deepprune.recordings import FINISHED
from deepprune.statistics import Bools, Ints
from deepprune.voting import group_answers
from training.config import PairsConfig
from training.pairs.data import PAIRS, Split

Row = dict[str, Any]


class Excluded(StrEnum):
    """Why a trace is in no pair (Appendix A): the reasons, as counted in the manifest."""

    NO_ANSWER = "no answer"
    CUT_OFF = "cut off"
    NOT_FINISHED = "cancelled or lost"
    OTHER_POLICY = "recorded under another policy too"
    SHORT = "ended before its checkpoint"


def prefixes_of(trace: Row, config: PairsConfig) -> tuple[list[Row], list[str]]:
    """The prefixes of one trace, one for each checkpoint, and why others are missing."""
    reason, answer = _valid(trace, config)
    if reason is not None:
        return [], [reason]
    prefixes: list[Row] = []
    reasons: list[str] = []
    for checkpoint in config.checkpoints:
        spec = CheckpointSpec.parse(checkpoint, config.reasoning_words)
        prefix = cut(trace, spec, config)
        if prefix is None and config.short_traces == "exclude":
            reasons.append(Excluded.SHORT)
            continue
        prefixes.append(
            {
                "benchmark": trace["problem_id"].partition("/")[0],
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

    Without a tokenizer, `tokens:k` is placed by the trace's own characters per token, or by the
    configured ones where its number of tokens is not recorded.
    """
    text = trace["text"]
    if spec.kind == "tokens" and config.tokenizer is not None:
        tokens = _tokenizer(config.tokenizer)(
            text, add_special_tokens=False, return_offsets_mapping=True
        )
        ends = [end for _, end in tokens["offset_mapping"][: spec.count]]
        return text[: ends[-1]] if len(ends) == spec.count else None
    chars_per_token = config.chars_per_token
    if trace.get("num_tokens") and text:
        chars_per_token = len(text) / trace["num_tokens"]
    return truncate(text, spec, chars_per_token=chars_per_token)


@lru_cache(maxsize=1)
def _tokenizer(name: str) -> Any:
    from actors.tokenizer import load_tokenizer

    return load_tokenizer(name)


def pair_up(prefixes: Sequence[Row], config: PairsConfig, split: Split) -> pa.Table:
    """Pairs of one problem's prefixes by one model at one checkpoint, labelled (Section 4.1.1).

    All pairs, or as many as the configuration allows. In training a coin decides which trace is
    shown first; elsewhere it is the lower sample. The prefixes' texts are not needed.
    """
    if len(prefixes) < 2:
        return PAIRS.empty_table()
    prefixes = sorted(prefixes, key=lambda row: int(row["sample"]))
    key = prefixes[0]
    rng = np.random.default_rng(
        _seed(config.seed, key["problem_id"], key["model"], key["checkpoint"])
    )
    a, b = np.triu_indices(len(prefixes), 1)
    same = agreement([row["answer"] for row in prefixes])[a, b]
    chosen = _chosen(same, config, rng)
    a, b, same = a[chosen], b[chosen], same[chosen]
    if split == "train":
        swap = rng.random(len(chosen)) < 0.5
        a, b = np.where(swap, b, a), np.where(swap, a, b)
    samples = np.array([row["sample"] for row in prefixes], dtype=np.int32)
    ended = np.array([row["ended"] for row in prefixes], dtype=np.bool_)
    columns: dict[str, Any] = {
        name: pa.repeat(pa.scalar(value, pa.string()), len(chosen))
        for name, value in (
            *((name, key[name]) for name in ("benchmark", "problem_id", "model", "checkpoint")),
            ("split", split),
        )
    }
    columns |= {
        "first": samples[a],
        "second": samples[b],
        "same": same,
        "unfinished": ~(ended[a] | ended[b]),
    }
    return pa.table({name: columns[name] for name in PAIRS.names}, PAIRS)


def agreement(answers: Sequence[str]) -> Bools:
    """(n, n): which answers are one in the vote of them all."""
    groups = np.array(group_answers(answers))
    agrees: Bools = groups[:, None] == groups[None, :]
    return agrees


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
    if trace.get("fate") not in FINISHED or trace["text"] is None:
        return Excluded.NOT_FINISHED, None
    if trace.get("finish_reason") in CUT_OFF:
        return Excluded.CUT_OFF, None
    if config.answers == "recorded":
        answer = trace.get("answer")
    else:
        answer = extract_answer(trace["text"], config.answers)
    return (None, answer) if answer and answer.strip() else (Excluded.NO_ANSWER, None)


def _chosen(same: Bools, config: PairsConfig, rng: np.random.Generator) -> Ints:
    """Indices of the pairs to keep, ascending."""
    limit = config.pairs_per_problem
    if limit is None:
        return np.arange(len(same))
    if not config.balanced:
        return np.sort(rng.permutation(len(same))[:limit])
    halves = [rng.permutation(np.flatnonzero(same == kind))[: limit // 2] for kind in (True, False)]
    return np.sort(np.concatenate(halves))


def _seed(*parts: object) -> int:
    """The same number for the same parts, on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
