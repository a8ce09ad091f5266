"""`deepprune pairs`: recorded traces become pairs to train a judge on.

Also what `ray job submit -- python -m jobs pairs SOURCE --out FOLDER` runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table

from deepprune.errors import UserError
from jobs.overrides import settings_of
from jobs.render.progress import Progress
from jobs.render.theme import counted, new_table, one_line
from jobs.storage.run_dir import ResultFolder
from training.config import PairsConfig, load
from training.pairs.data import MANIFEST, SPLITS

MAX_NAME_CHARS = 40


def pairs(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: a source is damaged, foreign or doubled, the folder holds other pairs, or there
            is nothing to pair.
    """
    config = load(PairsConfig, options.config, _settings(options))
    manifest = build(options, config)
    console = Console(highlight=False)
    for table in (*similarity_tables(manifest), split_table(manifest)):
        console.print(table)
    excluded = _excluded(manifest)
    sys.stderr.write(
        f"{counted(manifest['pairs'], 'pair')} of {counted(manifest['traces'], 'trace')}"
        f"{f' (left out: {excluded})' if excluded else ''}: saved in {options.out}\n"
    )
    return 0


def build(options: argparse.Namespace, config: PairsConfig) -> dict[str, Any]:
    """Build the folder and its manifest, or what is missing of them.

    Raises:
        UserError: as `pairs` does.
    """
    from training.pairs.build import PairsBuild, described
    from training.pairs.scan_sources import scan_sources, source_files

    files = source_files(options.sources)
    if options.out.exists() and any(options.out.resolve() in file.parents for file in files):
        raise UserError(f"{options.out} holds a source: choose another --out")
    with Progress("looking at traces", _num_traces(files)) as progress:
        progress.phase("hashing the sources")
        sources = described(files)
        scan = scan_sources(files, progress.step)
    recorded = {"pairs": config.model_dump(mode="json"), "sources": sources}
    with ResultFolder(options.out, recorded) as folder:
        if (options.out / MANIFEST).is_file():
            done: dict[str, Any] = json.loads((options.out / MANIFEST).read_text("utf-8"))
            return done
        from actors.deploy.connection import connected, running_cluster

        with connected(running_cluster(options.address)):
            work = PairsBuild(files, scan, config, options.out.absolute())
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
        folder.write_file(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def similarity_tables(manifest: dict[str, Any]) -> list[Table]:
    """How many pairs agree, by model: the paper's Table 4, once for each checkpoint."""
    tables = []
    for checkpoint in manifest["prefixes"]:
        table = new_table(f"Pairs at {checkpoint}", "model", *_COLUMNS)
        by_model: dict[str, Counter[str]] = defaultdict(Counter)
        for row in manifest["counts"]:
            if row["checkpoint"] == checkpoint:
                by_model[row["model"] or "unnamed"].update(_numbers(row))
        for model, total in sorted(by_model.items()):
            table.add_row(one_line(model, MAX_NAME_CHARS), *_cells(total))
        if len(by_model) > 1:
            table.add_row("together", *_cells(sum(by_model.values(), Counter())))
        tables.append(table)
    return tables


def split_table(manifest: dict[str, Any]) -> Table:
    """What is learned from, and what is held out, over all checkpoints."""
    table = new_table("Splits, by problem", "split", *_COLUMNS)
    for split in SPLITS:
        total: Counter[str] = Counter()
        for row in manifest["counts"]:
            if row["split"] == split:
                total.update(_numbers(row))
        table.add_row(split, *_cells(total))
    return table


_COLUMNS = ("pairs", "same answer", "ratio")


def _numbers(row: dict[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in ("pairs", "same")}


def _cells(total: Counter[str]) -> list[str]:
    ratio = f"{total['same'] / total['pairs']:.4f}" if total["pairs"] else "–"
    return [f"{total['pairs']:,}", f"{total['same']:,}", ratio]


def _excluded(manifest: dict[str, Any]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in manifest["excluded"].items() if n)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    settings = settings_of(options.settings, example="test=0.2")
    given = {
        "checkpoints": options.checkpoint,
        "pairs_per_problem": options.pairs_per_problem,
        "balanced": options.balanced or None,
        "seed": options.seed,
    }
    return settings | {key: value for key, value in given.items() if value is not None}


def _num_traces(files: Any) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(f).num_rows for f in files if f.suffix == ".parquet")
