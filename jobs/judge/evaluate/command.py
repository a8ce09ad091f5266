"""Score pairs with judges, one after another, and write the evaluation.

Each judge has its own part in `scores/`. So a stopped run continues with the next judge, and a
sweep can replay one judge's scores. A part is reused while the judge has the same fingerprint.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.models import JUDGE_FILE
from deepprune.config import Reads
from deepprune.errors import UserError
from deepprune.schemas import SCORES
from deepprune.statistics import Floats, Platt, chosen_tau, fit_platt, mean_auroc, sigmoid
from jobs.judge.evaluate.judged import Judged
from jobs.judge.evaluate.writing import write_evaluation
from jobs.render.progress import Progress
from jobs.storage.run_dir import RunDir
from training import TARGET_ERROR
from training.offline.saved_judge import (
    fingerprint,
    judge_folder,
    save_threshold,
    saved_tau,
    settings_file,
)
from training.offline.scoring import open_judge
from training.pairs.data import PairSet, Split, chosen_checkpoint, load_pairs

JUDGED = pa.schema(
    [
        ("judge", pa.string()),
        ("fingerprint", pa.string()),
        ("tau", pa.float64()),
        ("chosen_tau", pa.float64()),
        ("base_rate", pa.float64()),
        ("auroc", pa.float64()),
        ("slope", pa.float64()),
        ("shift", pa.float64()),
        ("seconds", pa.float64()),
        ("num_tokens", pa.int64()),
    ]
)
"""One row per judge: its own threshold or else the one chosen on the validation pairs, the figures
of those pairs (null where all pairs are test pairs), and the cost of scoring."""
UNMEASURED_TAU = 0.5
"""The threshold of a judge that brings none along, where all pairs are test pairs."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command."""

    pairs: Path
    judges: tuple[str, ...]
    out: Path
    checkpoint: str | None = None
    split: Split = "test"
    max_pairs: int | None = None
    max_tokens: int | None = None
    target_error: float = TARGET_ERROR
    save_threshold: bool = False
    cascade: bool = False


def evaluate_judges(options: Options) -> None:
    """Score held-out pairs with each judge; write scores, tables and plots.

    Raises:
        UserError: the pairs, a judge or the folder cannot work.
    """
    if options.cascade and len(options.judges) != 2:
        raise UserError("--cascade takes two judges: the cheap one first, then the expensive one")
    checkpoint = chosen_checkpoint(options.pairs, options.checkpoint)
    wanted = _limited(load_pairs(options.pairs, [options.split], options.checkpoint), options)
    _check(wanted, options.split)
    training = load_pairs(options.pairs, ["train"], options.checkpoint)
    held_out = _limited(load_pairs(options.pairs, ["validation"], options.checkpoint), options)
    if held_out.only_class:
        held_out = _limited(training, options)
    written = {
        "pairs": hashlib.sha256((options.pairs / "manifest.json").read_bytes()).hexdigest(),
        "checkpoint": checkpoint,
        **{name: getattr(options, name) for name in ("split", "max_pairs", "max_tokens")},
        "target_error": options.target_error,
    }
    folders = {name: judge_folder(name) for name in options.judges}
    if options.save_threshold:
        _refuse_without_settings(folders)
        if not len(held_out):
            raise UserError(
                "--save-threshold needs training or validation pairs, and all pairs are test pairs"
            )
    judged = []
    with RunDir(options.out, written) as folder:
        for name in options.judges:
            identity = fingerprint(folders[name])
            row = _saved_row(folder, name)
            if row is None or (row.get("fingerprint") or "") != identity:
                row = _score(name, wanted, held_out, training, checkpoint, options, folder)
                folder.write("judges", part(name), [row | {"fingerprint": identity}], JUDGED)
            settings = settings_file(folders[name])
            if options.save_threshold and settings is not None:
                save_threshold(settings, row["chosen_tau"], row["base_rate"], row["auroc"])
            row["tau"] = saved_tau(folders[name]) or row["tau"]
            judged.append(_judged(row, folder.path))
        write_evaluation(judged, wanted, options.out, cascade_of_two=options.cascade)
    sys.stderr.write(f"saved in {options.out}; look at {options.out / 'evaluation.html'}\n")


def part(judge: str) -> str:
    """The name of the files of a judge."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", judge).strip("-.")[-40:]
    plain = re.fullmatch(r"[a-z0-9-]+", judge)
    digest = hashlib.blake2b(judge.encode(), digest_size=3).hexdigest()
    return judge if plain else f"{readable}-{digest}"


def _score(
    name: str,
    wanted: PairSet,
    held_out: PairSet,
    training: PairSet,
    checkpoint: str,
    options: Options,
    folder: RunDir,
) -> Row:
    """Score with one judge, save the scores, and return the row of the judge."""
    with Progress(f"judging with {name}", len(held_out) + len(wanted)) as progress:
        progress.phase("getting ready")
        judge = open_judge(name, training, options.max_tokens)
        held = judge.score(held_out, progress.step) if len(held_out) else np.zeros(0)
        begun, before = time.monotonic(), judge.num_tokens
        logits = judge.score(wanted, progress.step)
        seconds, num_tokens = time.monotonic() - begun, judge.num_tokens - before
    if not np.isfinite(logits).all():
        raise UserError(f"judge {name}: some scores are no numbers; its weights are damaged")
    scale = fit_platt(held, held_out.same) if len(held_out) else Platt()
    if not judge.is_probability:
        held, logits, scale = scale.logits(held), scale.logits(logits), Platt()
    p_held, p_same = sigmoid(held), sigmoid(logits)
    chosen = judge.tau or UNMEASURED_TAU
    if len(held_out):
        chosen = chosen_tau(held_out.same, p_held, options.target_error)
    folder.write("scores", part(name), _rows(name, judge.reads, wanted, p_same, checkpoint), SCORES)
    return {
        "judge": name,
        "tau": chosen if judge.tau is None else judge.tau,
        "chosen_tau": chosen,
        "base_rate": float(held_out.same.mean()) if len(held_out) else None,
        "auroc": mean_auroc(held_out.same, p_held, held_out.problem) if len(held_out) else None,
        "slope": scale.slope,
        "shift": scale.shift,
        "seconds": seconds,
        "num_tokens": num_tokens,
    }


def _refuse_without_settings(folders: dict[str, Path | None]) -> None:
    for name in folders:
        if settings_file(Path(name)) is None:
            raise UserError(
                f"--save-threshold needs judges from folders that hold {JUDGE_FILE}, and {name!r} "
                "is none"
            )


def _rows(
    name: str, reads: Reads, pairs: PairSet, p_same: Floats, checkpoint: str
) -> list[dict[str, object]]:
    return [
        {
            "benchmark": a.benchmark,
            "problem_id": a.problem_id,
            "model": a.model or None,
            "policy": None,
            "judge": name,
            "reads": reads,
            "checkpoint": checkpoint,
            "first": a.sample,
            "second": pairs.prefixes[j].sample,
            "p_same": p,
        }
        for i, j, p in zip(pairs.first, pairs.second, p_same.tolist(), strict=True)
        for a in [pairs.prefixes[i]]
    ]


def _saved_row(folder: RunDir, name: str) -> Row | None:
    """The row of a judge that was evaluated before."""
    if not folder.has("judges", part(name)):
        return None
    row: Row = pq.read_table(folder.path / "judges" / f"{part(name)}.parquet").to_pylist()[0]
    return row


def _judged(row: Row, folder: Path) -> Judged:
    scores = pq.read_table(folder / "scores" / f"{part(row['judge'])}.parquet", columns=["p_same"])
    return Judged(
        row["judge"],
        scores["p_same"].to_numpy().astype(np.float64),
        row["tau"],
        row["base_rate"],
        Platt(row["slope"], row["shift"]),
        row["seconds"],
        row["num_tokens"],
    )


def _limited(pairs: PairSet, options: Options) -> PairSet:
    return pairs if options.max_pairs is None else pairs.limited(options.max_pairs, seed=0)


def _check(pairs: PairSet, split: str) -> None:
    """Refuse pairs for which AUROC is undefined.

    Raises:
        UserError: there are no pairs in the split, or none of one class.
    """
    if not len(pairs):
        raise UserError(f"there are no pairs in the split {split!r}: choose another --split")
    if pairs.only_class:
        raise UserError(
            f"all {len(pairs):,} pairs of the split {split!r} {pairs.only_class}, so there is "
            "nothing to tell apart: choose another --split, or pairs of more problems"
        )
