"""A folder of pairs, built by Ray Data out of recorded traces.

One pipeline reads a slice of the traces a task and writes their prefixes as a part; a second reads
the prefixes of some problems back, without their texts, and writes their pairs. Only counts pass
through the driver, so memory follows the size of a slice, not the number of traces. What is in
which part depends on the sources and the configuration alone, and a part tells its counts in its
footer: a build that was stopped goes on where it was, and any number of workers builds the same.

On a cluster of several nodes, sources and folder have to be on a file system that all of them see.
"""

from __future__ import annotations

import hashlib
import json
import logging
import resource
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from deepprune.errors import UserError
from deepprune.recordings import read_traces
from deepprune.table_writer import summary_of, table_writer
from training.config import PairsConfig
from training.pairs.data import PAIRS, PREFIXES, SPLITS, Split
from training.pairs.pair_up import Excluded, pair_up, prefixes_of, split_problems
from training.pairs.scan_sources import Slice, SourceScan, slices_of

PROBLEMS_PER_PART = 8
"""Problems that one task pairs."""
PREFIXES_AT_ONCE = 256
FORMAT = 1

_GROUP = ("problem_id", "model", "checkpoint")
_SLIM = ("benchmark", *_GROUP, "sample", "ended", "answer")

Summary = dict[str, Any]


class PairsBuild:
    """Builds `prefixes/` and `pairs/` in a folder; Ray has to be up.

    Exhaust `cut`, then `pair`; then `manifest` holds what there is.
    """

    def __init__(
        self, files: Sequence[Path], scan: SourceScan, config: PairsConfig, folder: Path
    ) -> None:
        self._files, self._scan, self._config, self._folder = files, scan, config, folder
        self._splits = split_problems(scan.keys.values(), config)
        self._parts_of: dict[str, set[str]] = defaultdict(set)
        self._excluded: Counter[str] = Counter()
        self._prefixes: Counter[str] = Counter()
        self._counts: list[Summary] = []
        self._peak_bytes = 0

    @property
    def num_problems(self) -> int:
        """Problems of which `pair` has to make pairs; known once `cut` is through."""
        return len(self._parts_of)

    def cut(self) -> Iterator[int]:
        """Write prefixes; yields how many more traces have been read.

        Raises:
            UserError: a trace is damaged, or the disk is full.
        """
        items = [
            {"path": str(self._part("prefixes", number)), "slice": cut}
            for number, cut in enumerate(slices_of(self._files))
        ]
        scan, config = self._scan, self._config
        for summary in _parts(items, lambda item: _cut_slice(item, scan, config)):
            self._excluded.update(summary["excluded"])
            self._prefixes.update(summary["prefixes"])
            for problem_id in summary["problems"]:
                self._parts_of[problem_id].add(summary["path"])
            self._peak_bytes = max(self._peak_bytes, summary["peak_bytes"])
            yield summary["traces"]

    def pair(self) -> Iterator[int]:
        """Write pairs; yields how many more problems are done.

        Raises:
            UserError: the disk is full.
        """
        items = [
            {
                "path": str(self._part("pairs", number)),
                "splits": {p: self._splits[self._scan.keys[p]] for p in problem_ids},
                "parts": sorted(set().union(*(self._parts_of[p] for p in problem_ids))),
            }
            for number, problem_ids in enumerate(self._chunks())
        ]
        config = self._config
        for summary in _parts(items, lambda item: _pair_problems(item, config)):
            self._counts += summary["counts"]
            self._peak_bytes = max(self._peak_bytes, summary["peak_bytes"])
            yield summary["problems"]

    def manifest(self, sources: Sequence[Summary]) -> Summary:
        """What is in the folder, and what it was made of."""
        keys = ("benchmark", "model", "checkpoint", "split")
        totals: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for row in self._counts:
            totals[itemgetter(*keys)(row)].update(
                {name: row[name] for name in ("problems", "pairs", "same")}
            )
        counts = [
            dict(zip(keys, key, strict=True)) | dict(total) for key, total in sorted(totals.items())
        ]
        problems = Counter(self._splits.values())
        return {
            "format": FORMAT,
            "config": self._config.model_dump(mode="json"),
            "sources": list(sources),
            "traces": self._scan.num_traces,
            "excluded": {str(reason): self._excluded[reason] for reason in Excluded},
            "prefixes": {name: self._prefixes[name] for name in self._config.checkpoints},
            "problems": {split: problems[split] for split in SPLITS},
            "pairs": sum(row["pairs"] for row in counts),
            "same": sum(row["same"] for row in counts),
            "counts": counts,
            "peak_worker_bytes": self._peak_bytes,
        }

    def _chunks(self) -> list[list[str]]:
        ids = sorted(self._parts_of)
        return [ids[i : i + PROBLEMS_PER_PART] for i in range(0, len(ids), PROBLEMS_PER_PART)]

    def _part(self, table: str, number: int) -> Path:
        return self._folder / table / f"part-{number:06}.parquet"


def described(files: Sequence[Path]) -> list[Summary]:
    """Name, size and hash of each source."""

    def describe(file: Path) -> Summary:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return {"name": file.name, "bytes": file.stat().st_size, "sha256": digest}

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(describe, files))


def _parts(items: Sequence[Any], write: Callable[[Any], Summary]) -> Iterator[Summary]:
    """Write the part of each item over the cluster unless it is there; yield all summaries.

    They come in any order, each with the `path` of its part.

    Raises:
        UserError: as the task raised it.
    """
    import ray.data  # sets its own log levels, so that ours have to come after it
    from ray.exceptions import RayTaskError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def summary(row: dict[str, int]) -> dict[str, str]:
        item = items[row["id"]]
        found = summary_of(Path(item["path"])) or write(item)
        return {"summary": json.dumps(found | {"path": item["path"]})}

    dataset = ray.data.range(len(items), override_num_blocks=max(1, len(items))).map(summary)
    try:
        for row in dataset.iter_rows():
            yield json.loads(row["summary"])
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def _cut_slice(item: dict[str, Any], scan: SourceScan, config: PairsConfig) -> Summary:
    cut: Slice = item["slice"]
    excluded: Counter[str] = Counter()
    prefixes: Counter[str] = Counter()
    problems: set[str] = set()
    num_traces = 0
    rows: list[dict[str, Any]] = []
    with table_writer(Path(item["path"]), PREFIXES) as part:
        for trace in read_traces(Path(cut.file), row_groups=cut.row_groups):
            num_traces += 1
            model = scan.selection.model(trace)
            if model is None:
                excluded[Excluded.OTHER_POLICY] += 1
                continue
            found, reasons = prefixes_of(trace | {"model": model}, config)
            excluded.update(reasons)
            prefixes.update(row["checkpoint"] for row in found)
            problems.update(row["problem_id"] for row in found)
            rows += found
            if len(rows) >= PREFIXES_AT_ONCE:
                part.add(pa.Table.from_pylist(rows, PREFIXES))
                rows = []
        part.add(pa.Table.from_pylist(rows, PREFIXES))
        part.summary = {
            "traces": num_traces,
            "excluded": dict(excluded),
            "prefixes": dict(prefixes),
            "problems": sorted(problems),
            "peak_bytes": peak_bytes(),
        }
    return part.summary


def _pair_problems(item: dict[str, Any], config: PairsConfig) -> Summary:
    splits: dict[str, Split] = item["splits"]
    slim = ds.dataset(item["parts"], schema=PREFIXES).to_table(
        columns=list(_SLIM), filter=pc.field("problem_id").isin(list(splits))
    )
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in slim.to_pylist():
        groups[itemgetter(*_GROUP)(row)].append(row)
    counts = []
    with table_writer(Path(item["path"]), PAIRS) as part:
        for (problem_id, model, checkpoint), rows in sorted(groups.items()):
            pairs = pair_up(rows, config, splits[problem_id])
            part.add(pairs)
            if pairs.num_rows:
                counts.append(
                    {
                        "benchmark": rows[0]["benchmark"],
                        "model": model,
                        "checkpoint": checkpoint,
                        "split": splits[problem_id],
                        "problems": 1,
                        "pairs": pairs.num_rows,
                        "same": pc.sum(pairs["same"]).as_py(),
                    }
                )
        part.summary = {"problems": len(splits), "counts": counts, "peak_bytes": peak_bytes()}
    return part.summary


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
