"""Pairs on disk and in memory.

A folder of pairs holds `prefixes/` (each prefix once), `pairs/` (which two, and whether they agree)
and `manifest.json`. A pair names its prefixes by sample, so n traces cost n texts and not n².
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from deepprune.errors import UserError, reason
from deepprune.statistics import Bools, Ints

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MANIFEST = "manifest.json"

PREFIXES = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("problem", pa.string()),
        ("model", pa.string()),
        ("checkpoint", pa.string()),
        ("sample", pa.int32()),
        ("prefix", pa.string()),
        ("ended", pa.bool_()),
        ("answer", pa.string()),
    ]
)
"""One row per prefix; `ended` says that the trace ended before its checkpoint."""

PAIRS = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        ("model", pa.string()),
        ("checkpoint", pa.string()),
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("same", pa.bool_()),
        ("unfinished", pa.bool_()),
        ("split", pa.string()),
    ]
)
"""One row per pair, as it is shown: `unfinished` says that neither trace had ended at its
checkpoint, which is the paper's case."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a judge reads of one trace."""

    benchmark: str
    problem_id: str
    model: str
    sample: int
    problem: str
    text: str
    ended: bool


@dataclass(frozen=True)
class PairSet:
    """Pairs of prefixes: arrays of one length, `first` and `second` indices of `prefixes`.

    `copies` says how often an epoch of training shows a pair.
    """

    prefixes: Sequence[Prefix]
    first: Ints
    second: Ints
    same: Bools
    copies: Ints

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chosen: npt.NDArray[Any]) -> PairSet:
        """The pairs that a mask or an array of indices chooses."""
        return PairSet(
            self.prefixes,
            self.first[chosen],
            self.second[chosen],
            self.same[chosen],
            self.copies[chosen],
        )

    def compact(self) -> PairSet:
        """The same pairs, with no prefix that is in none of them; those left keep their order."""
        both = np.concatenate([self.first, self.second])
        used, places = np.unique(both, return_inverse=True)
        first, second = np.split(places.astype(np.int64), 2)
        return replace(self, prefixes=[self.prefixes[i] for i in used], first=first, second=second)

    @property
    def problem(self) -> Ints:
        """(pairs,): a number for each pair's problem, counted over the prefixes."""
        numbers: dict[str, int] = {}
        of = [numbers.setdefault(p.problem_id, len(numbers)) for p in self.prefixes]
        return np.array(of, dtype=np.int64)[self.first]

    @property
    def unfinished(self) -> Bools:
        """(pairs,): neither trace had ended at its checkpoint."""
        ended = np.array([p.ended for p in self.prefixes], dtype=np.bool_)
        return ~(ended[self.first] | ended[self.second])

    @property
    def only_class(self) -> str | None:
        """What all pairs do, `agree` or `differ`; None where there are both classes."""
        if self.same.all():
            return "agree"
        return None if self.same.any() else "differ"

    def oversampled(self, factor: int) -> PairSet:
        """The rarer class `factor` times (Section 4.1.2)."""
        rarer = self.same.mean() < 0.5 if len(self) else False
        return replace(self, copies=np.where(self.same == rarer, factor, 1))

    def limited(self, num_pairs: int, seed: int) -> PairSet:
        """At most `num_pairs` of them, drawn at random, in their order."""
        if len(self) <= num_pairs:
            return self
        drawn = np.random.default_rng(seed).choice(len(self), num_pairs, replace=False)
        return self[np.sort(drawn)]


def chosen_checkpoint(folder: Path, checkpoint: str | None) -> str:
    """The checkpoint as given, else the first that the folder's pairs are of."""
    known: list[str] = load_manifest(folder)["config"]["checkpoints"]
    return checkpoint or known[0]


def load_pairs(
    folder: Path, splits: Sequence[Split] = SPLITS, checkpoint: str | None = None
) -> PairSet:
    """Read the pairs of some splits. `checkpoint` may be left out where there is only one.

    Raises:
        UserError: the folder holds no pairs, several checkpoints and none named, a pair whose
            prefixes are missing, or a problem on two sides of the split.
    """
    manifest = load_manifest(folder)
    known: list[str] = manifest["config"]["checkpoints"]
    if checkpoint is None and len(known) > 1:
        raise UserError(f"{folder} holds pairs at {', '.join(known)}: say which with --checkpoint")
    checkpoint = checkpoint or known[0]
    if checkpoint not in known:
        raise UserError(f"{folder} holds no pairs at {checkpoint}, but at {', '.join(known)}")
    here = ds.field("checkpoint") == checkpoint
    texts = _table(folder / "prefixes", PREFIXES).to_table(filter=here)
    chosen = here & ds.field("split").isin(list(splits))
    pairs = _table(folder / "pairs", PAIRS).to_table(filter=chosen)
    joined = _join(folder, texts, pairs)
    _refuse_leaks(folder, joined.prefixes)
    joined = joined.compact()
    return joined.oversampled(manifest["config"]["oversampling"]) if "train" in splits else joined


def problem_key(problem_id: str, problem: str | None) -> str:
    """What makes two problems the same: their text, for one may be in two benchmarks."""
    text = " ".join((problem or "").split()) or problem_id
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_manifest(folder: Path) -> dict[str, Any]:
    """What is known about a folder of pairs.

    Raises:
        UserError: there is none; `deepprune pairs` was interrupted, or made something else.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder} is no finished folder of pairs: `deepprune pairs` makes one"
        ) from None
    return manifest


def _join(folder: Path, texts: pa.Table, pairs: pa.Table) -> PairSet:
    prefixes = [
        Prefix(
            row["benchmark"],
            row["problem_id"],
            row["model"] or "",
            row["sample"],
            row["problem"] or "",
            row["prefix"],
            row["ended"],
        )
        for row in texts.drop_columns(["answer", "checkpoint"]).to_pylist()
    ]
    index = {(p.problem_id, p.model, p.sample): i for i, p in enumerate(prefixes)}
    keys = [pairs[name].to_pylist() for name in ("problem_id", "model")]
    try:
        first, second = (
            np.array(
                [index[p, m or "", s] for p, m, s in zip(*keys, samples, strict=True)], np.int64
            )
            for samples in (pairs["first"].to_pylist(), pairs["second"].to_pylist())
        )
    except KeyError as error:
        raise UserError(f"{folder} has a pair without its prefix: {error.args[0]}") from None
    same = pairs["same"].to_numpy().astype(np.bool_)
    return PairSet(prefixes, first, second, same, np.ones(len(same), dtype=np.int64))


def _refuse_leaks(folder: Path, prefixes: Sequence[Prefix]) -> None:
    """A problem, by its text, belongs to one split: else what is measured was learned by heart."""
    keys = {p.problem_id: problem_key(p.problem_id, p.problem) for p in prefixes}
    split_of: dict[str, str] = {}
    for batch in _table(folder / "pairs", PAIRS).to_batches(columns=["problem_id", "split"]):
        distinct = pa.Table.from_batches([batch]).group_by(["problem_id", "split"]).aggregate([])
        for row in distinct.to_pylist():
            problem_id, split = row["problem_id"], row["split"]
            other = split_of.setdefault(keys.get(problem_id, problem_id), split)
            if other != split:
                raise UserError(
                    f"{folder} leaks: {problem_id} is in the {other} and in the {split} split; "
                    "build the pairs again from all recordings at once"
                )


def _table(folder: Path, schema: pa.Schema) -> ds.Dataset:
    try:
        return ds.dataset(folder, schema=schema, format="parquet", exclude_invalid_files=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{folder} cannot be read: {reason(error)}") from None
