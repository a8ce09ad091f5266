"""What is known of recorded traces before their texts are read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from deepprune.recordings import load_recordings
from training.pairs.scan_sources import scan_sources, slices_of, source_files

ROW = {"problem_id": "b/1", "problem": "What?", "sample": 0, "text": "5", "answer": "5"}


def jsonl(path: Path, *rows: dict) -> list[Path]:
    path.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
    return [path]


def test_configurations_are_models_of_their_own_only_where_samples_clash(tmp_path):
    for name, samples in (("apart", (0, 1)), ("clashing", (0, 0))):
        files = jsonl(
            tmp_path / f"{name}.jsonl",
            *({"model": "m", "config": c, "sample": s} for c, s in zip("ab", samples, strict=True)),
        )
        scan = scan_sources(files)
        names = {scan.selection.model(ROW | {"model": "m", "config": c}) for c in "ab"}
        assert names == ({"m"} if name == "apart" else {"m (a)", "m (b)"})
        assert names == {recording.model for recording in load_recordings(files[0])}


def test_the_policy_that_finished_most_counts(tmp_path):
    policies = ["cons", "cons", "deepprune", "deepprune"]
    fates = ["finished", "finished", "finished", "cancelled_after_checkpoint"]
    files = jsonl(
        tmp_path / "t.jsonl",
        *(
            {"policy": p, "fate": f, "sample": i % 2}
            for i, (p, f) in enumerate(zip(policies, fates, strict=True))
        ),
    )
    scan = scan_sources(files)
    assert scan.selection.model(ROW | {"policy": "cons"}) == ""
    assert scan.selection.model(ROW | {"policy": "deepprune"}) is None
    assert scan.num_traces == 4


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{}, {}], ["b/1", "sample 0", "twice"]),
        ([{}, {"problem": "Other?", "sample": 1}], ["b/1", "another problem"]),
        ([{"sample": -1}], ["sample -1"]),
        ([{"sample": None}], ["without"]),
        ([{"sample": "x"}], ["line 1", "sample"]),
        ([{"fate": "lost"}], ["no finished traces"]),
        ([], ["no finished traces"]),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(rows, words, tmp_path):
    with pytest.raises(UserError) as refused:
        scan_sources(jsonl(tmp_path / "t.jsonl", *rows))
    assert all(word in str(refused.value) for word in words), refused.value
    assert "\n" not in str(refused.value)


def test_slices_hold_every_row_group_once(tmp_path, monkeypatch):
    monkeypatch.setattr("training.pairs.scan_sources.SLICE_ROWS", 10)
    table = pa.Table.from_pylist([ROW | {"sample": i} for i in range(33)])
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    files = source_files([tmp_path])
    groups = [slice_.row_groups for slice_ in slices_of(files)]
    assert groups == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"bad\.parquet cannot be read"):
        slices_of(source_files([tmp_path]))
