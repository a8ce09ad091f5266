"""`deepprune pairs` on real Ray Data."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.command import deepprune
from training.config import PairsConfig
from training.pairs.build import PairsBuild
from training.pairs.data import SPLITS, load_pairs
from training.pairs.scan_sources import scan_sources

pytestmark = pytest.mark.live

CONFIG = PairsConfig(
    checkpoints=["tokens:20", "reasoning_words:2"], validation=0.2, test=0.2, seed=3
)


def write_traces(
    path: Path, num_problems: int, num_traces: int, *, chars: int = 200, seed: int = 0
) -> Path:
    """Traces in a random order, some of them invalid, a few to each row group."""
    rng = random.Random(seed)
    rows = [
        {
            "problem_id": f"made/{p}",
            "problem": f"Problem {p}?",
            "model": "m",
            "sample": s,
            "text": f"{p} {s} " + "so then wait " * (chars // 13),
            "answer": rng.choice(["1", "1", "1.0", "2", None]),
            "finish_reason": rng.choice(["stop"] * 9 + ["length"]),
        }
        for p in range(num_problems)
        for s in range(num_traces)
    ]
    rng.shuffle(rows)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=64)
    return path


def build(source: Path, out: Path, config: PairsConfig = CONFIG) -> dict:
    scan = scan_sources([source])
    work = PairsBuild([source], scan, config, out)
    assert sum(work.cut()) == scan.num_traces
    assert sum(work.pair()) == work.num_problems
    return work.manifest([])


def rows_of(folder: Path) -> list[dict]:
    rows = ds.dataset(folder).to_table().to_pylist()
    return sorted(rows, key=lambda row: tuple(map(str, row.values())))


def test_the_same_traces_give_the_same_pairs_however_they_are_dealt_out(
    bare_cluster, tmp_path, monkeypatch
):
    source = write_traces(tmp_path / "t.parquet", 12, 20)
    manifest = build(source, tmp_path / "one")
    monkeypatch.setattr("training.pairs.scan_sources.SLICE_ROWS", 64)
    monkeypatch.setattr("training.pairs.build.PROBLEMS_PER_PART", 1)
    again = build(source, tmp_path / "many")
    assert len(list((tmp_path / "many" / "pairs").iterdir())) == 12
    for table in ("prefixes", "pairs"):
        assert rows_of(tmp_path / "one" / table) == rows_of(tmp_path / "many" / table)
    assert manifest | {"peak_worker_bytes": 0} == again | {"peak_worker_bytes": 0}


def test_counts_add_up_and_no_problem_is_on_two_sides(bare_cluster, tmp_path):
    source = write_traces(tmp_path / "t.parquet", 12, 20)
    manifest = build(source, tmp_path)
    traces = pq.read_table(source).to_pylist()
    valid = [t for t in traces if t["answer"] and t["finish_reason"] == "stop"]
    assert manifest["traces"] == len(traces)
    assert sum(manifest["excluded"].values()) == len(traces) - len(valid)
    assert set(manifest["prefixes"].values()) == {len(valid)}
    assert sum(manifest["problems"].values()) == 12
    counts = Counter(t["problem_id"] for t in valid)
    expected = sum(n * (n - 1) // 2 for n in counts.values())
    pairs = rows_of(tmp_path / "pairs")
    assert manifest["pairs"] == len(pairs) == 2 * expected
    assert manifest["same"] == sum(pair["same"] for pair in pairs)
    splits = {(pair["problem_id"], pair["split"]) for pair in pairs}
    assert len(splits) == 12
    assert {split for _, split in splits} == set(SPLITS)


def test_memory_does_not_grow_with_the_traces(bare_cluster, tmp_path):
    """Five times the slices, 130 MB more of text; a worker's peak grows by less than half of that.

    What Arrow reads ahead, and how much of it, is for the load of the machine to say.
    """
    small = write_traces(tmp_path / "small.parquet", 40, 64, chars=13_000)
    large = write_traces(tmp_path / "large.parquet", 200, 64, chars=13_000)
    few = build(small, tmp_path / "a")["peak_worker_bytes"]
    many = build(large, tmp_path / "b")["peak_worker_bytes"]
    assert many - few < 65e6


def test_the_command_builds_what_training_loads(bare_cluster, tmp_path):
    source = write_traces(tmp_path / "t.parquet", 12, 8)
    arguments = (
        *("pairs", str(source), "--out", "made", "--checkpoint", "tokens:20"),
        *("--address", bare_cluster, "--pairs-per-problem", "10", "--set", "test=0.25"),
    )
    done = deepprune(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Pairs at tokens:20" in done.stdout
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    assert manifest["sources"][0]["bytes"] == source.stat().st_size
    assert len(manifest["sources"][0]["sha256"]) == 64
    train = load_pairs(tmp_path / "made", ["train"])
    counts = {row["split"]: row["pairs"] for row in manifest["counts"]}
    assert len(train) == counts["train"] > 0
    rarer = train.same.mean() < 0.5
    assert set(train.copies[train.same == rarer]) == {2}
    assert set(train.copies[train.same != rarer]) == {1}
    # Oversampling is for training alone.
    assert set(load_pairs(tmp_path / "made", ["test"]).copies) == {1}

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "made").rglob("*.parquet")}
    (tmp_path / "made" / "manifest.json").unlink()
    next(iter(sorted((tmp_path / "made" / "pairs").iterdir()))).unlink()
    again = deepprune(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "made").rglob("*.parquet")}
    assert len(kept) == len(before)
    assert sum(kept[p] == before[p] for p in before) == len(before) - 1, "the rest is not redone"

    other = deepprune(*arguments[:-1], "test=0.1", cwd=tmp_path)
    assert other.returncode == 2
    assert "pairs.test" in other.stderr


def test_nothing_to_pair_is_refused(bare_cluster, tmp_path):
    rows = [
        {"problem_id": "m/1", "problem": "?", "sample": i, "text": "x", "answer": answer}
        for i, answer in enumerate([None, "1"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    done = deepprune("pairs", "t.parquet", "--out", "made", "--address", bare_cluster, cwd=tmp_path)
    assert done.returncode == 2
    assert "no problem has two traces to pair" in done.stderr
    assert "1 no answer" in done.stderr
    assert "Traceback" not in done.stderr
