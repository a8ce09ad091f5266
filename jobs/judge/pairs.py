"""`deepprune pairs`: recorded traces become pairs to train a judge on.

Also what `ray job submit -- python -m jobs pairs SOURCE --out FOLDER` runs.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from deepprune.errors import UserError
from deepprune.table_writer import atomic_file
from jobs.render.format import counted
from jobs.render.progress import Progress
from jobs.render.table import Cell, Table
from jobs.render.text import one_line
from jobs.storage.run_dir import RunDir
from training.config import PairsConfig, load
from training.pairs.data import MANIFEST, SPLITS

MAX_NAME_CHARS = 40


def pairs(
    sources: Sequence[Path],
    out: Path,
    config_file: Path | None,
    overrides: dict[str, Any],
    address: str | None,
) -> None:
    """Build the pairs of `sources` into `out`, and print how many agree.

    Raises:
        UserError: a source is damaged, foreign or doubled, the folder holds other pairs, or there
            is nothing to pair.
    """
    config = load(PairsConfig, config_file, overrides)
    manifest = build(sources, out, config, address)
    console = Console(highlight=False)
    for table in (*similarity_tables(manifest), split_table(manifest)):
        console.print(table)
    excluded = _excluded(manifest)
    sys.stderr.write(
        f"{counted(manifest['pairs'], 'pair')} of {counted(manifest['traces'], 'trace')}"
        f"{f' (left out: {excluded})' if excluded else ''}: saved in {out}\n"
    )


def build(
    paths: Sequence[Path], out: Path, config: PairsConfig, address: str | None
) -> dict[str, Any]:
    """Build the folder and its manifest, or what is missing of them.

    Raises:
        UserError: as `pairs` does.
    """
    from training.pairs.build import PairsBuild, described
    from training.pairs.scan_sources import scan_sources, source_files

    files = source_files(paths)
    if out.exists() and any(out.resolve() in file.parents for file in files):
        raise UserError(f"{out} holds a source: choose another --out")
    with Progress("looking at traces", _num_traces(files)) as progress:
        progress.phase("hashing the sources")
        sources = described(files)
        scan = scan_sources(files, progress.step)
    recorded = {"pairs": config.model_dump(mode="json"), "sources": sources}
    with RunDir(out, recorded):
        if (out / MANIFEST).is_file():
            done: dict[str, Any] = json.loads((out / MANIFEST).read_text("utf-8"))
            return done
        from actors.deploy.connection import connected, running_cluster

        address = running_cluster(address)
        with connected(address):
            if address is not None:
                _check_folders({*(file.parent.absolute() for file in files)}, out.absolute())
            work = PairsBuild(files, scan, config, out.absolute())
            with Progress("cutting traces", scan.num_traces) as progress:
                for num_traces in work.cut():
                    progress.step(num_traces)
            with Progress("pairing problems", work.num_problems) as progress:
                for num_problems in work.pair():
                    progress.step(num_problems)
        manifest = work.manifest(sources)
        if not manifest["pairs"]:
            raise UserError(
                f"no problem has two traces to pair ({counted(manifest['traces'], 'trace')}; "
                f"left out: {_excluded(manifest) or 'none'})"
            )
        with atomic_file(out / MANIFEST) as file:
            file.write((json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def _check_folders(sources: set[Path], out: Path) -> None:
    """Refuse folders that not all nodes see: their tasks read sources and write pairs.

    Raises:
        UserError: one does not.
    """
    from actors.deploy.shared_folders import check_folder, marked
    from cluster.placement import one_bundle

    advice = "put sources and --out on a disk that all nodes share, or leave --address out"
    with marked(out):
        for folder in sorted({*sources, out}):
            check_folder(folder, one_bundle({"CPU": 1}), advice)


def similarity_tables(manifest: dict[str, Any]) -> list[Table]:
    """Pairs that agree, by model: the paper's Table 4, once for each checkpoint."""
    tables = []
    for checkpoint in manifest["prefixes"]:
        by_model: dict[str, Counter[str]] = defaultdict(Counter)
        for row in manifest["counts"]:
            if row["checkpoint"] == checkpoint:
                by_model[row["model"] or "unnamed"].update(_numbers(row))
        rows = [
            _row(one_line(model, MAX_NAME_CHARS), by_model[model]) for model in sorted(by_model)
        ]
        if len(by_model) > 1:
            rows.append(_row("together", sum(by_model.values(), Counter())))
        tables.append(Table(f"Pairs at {checkpoint}", ("model", *_COLUMNS), tuple(rows)))
    return tables


def split_table(manifest: dict[str, Any]) -> Table:
    """Pairs of each split, over all checkpoints."""
    totals: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for row in manifest["counts"]:
        totals[row["split"]].update(_numbers(row))
    rows = tuple(_row(split, total) for split, total in totals.items())
    return Table("Splits, by problem", ("split", *_COLUMNS), rows)


_COLUMNS = ("pairs", "same answer", "ratio")


def _numbers(row: dict[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in ("pairs", "same")}


def _row(name: str, total: Counter[str]) -> tuple[Cell, ...]:
    ratio = f"{total['same'] / total['pairs']:.4f}" if total["pairs"] else "–"
    cells = (name, f"{total['pairs']:,}", f"{total['same']:,}", ratio)
    return tuple(map(Cell, cells))


def _excluded(manifest: dict[str, Any]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in manifest["excluded"].items() if n)


def _num_traces(files: Any) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(f).num_rows for f in files if f.suffix == ".parquet")
