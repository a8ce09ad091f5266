"""A folder of pairs, read back; and what `deepprune train` refuses before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from jobs.cli import main
from training.pairs.data import PAIRS, PREFIXES, load_pairs

PAIR = {
    "benchmark": "b",
    "problem_id": "b/1",
    "model": "m",
    "checkpoint": "tokens:5",
    "first": 0,
    "second": 1,
    "same": True,
    "unfinished": True,
    "split": "train",
}


def folder_of(folder: Path, *pairs: dict, texts: dict[str, str] | None = None) -> Path:
    """A folder of pairs; `texts` gives problems their texts, else each has its own."""
    rows = [PAIR | pair for pair in pairs]
    prefixes = {
        (row["problem_id"], sample): {
            **{name: row[name] for name in ("benchmark", "problem_id", "model", "checkpoint")},
            "problem": (texts or {}).get(row["problem_id"], row["problem_id"]),
            "sample": sample,
            "prefix": f"so {sample}",
            "ended": False,
            "answer": "5",
        }
        for row in rows
        for sample in (0, 1, 2)
    }
    for name, table in (
        ("pairs", pa.Table.from_pylist(rows, PAIRS)),
        ("prefixes", pa.Table.from_pylist(list(prefixes.values()), PREFIXES)),
    ):
        (folder / name).mkdir(parents=True)
        pq.write_table(table, folder / name / "part-0.parquet")
    config = {"checkpoints": ["tokens:5"], "oversampling": 2}
    (folder / "manifest.json").write_text(json.dumps({"config": config}))
    (folder / "config.yaml").write_text("pairs: {}\n")
    return folder


def test_a_split_comes_with_the_prefixes_of_its_pairs_and_no_others(tmp_path):
    folder = folder_of(
        tmp_path, {}, {"first": 1, "second": 2, "problem_id": "b/2", "split": "test"}
    )
    train, test = load_pairs(folder, ["train"]), load_pairs(folder, ["test"])
    assert [(p.problem_id, p.sample) for p in train.prefixes] == [("b/1", 0), ("b/1", 1)]
    assert [(p.problem_id, p.sample) for p in test.prefixes] == [("b/2", 1), ("b/2", 2)]
    assert (list(test.first), list(test.second)) == ([0], [1])


def test_the_rarer_class_is_shown_twice_in_training_only(tmp_path):
    pairs = [{}, {"second": 2}, {"first": 1, "second": 2, "same": False}]
    folder = folder_of(tmp_path, *pairs, {"problem_id": "b/2", "same": False, "split": "test"})
    assert sorted(load_pairs(folder, ["train"]).copies) == [1, 1, 2]
    assert list(load_pairs(folder, ["test"]).copies) == [1]


@pytest.mark.parametrize(
    ("pairs", "texts"),
    [
        ([{}, {"second": 2, "split": "test"}], None),
        ([{}, {"problem_id": "b/2", "split": "validation"}], {"b/1": "One?", "b/2": " One? "}),
    ],
    ids=["by its id", "by its text"],
)
def test_a_split_that_leaks_is_refused(pairs, texts, tmp_path):
    with pytest.raises(UserError, match=r"leaks: b/[12] is in the train and in the"):
        load_pairs(folder_of(tmp_path, *pairs, texts=texts), ["train"])


@pytest.mark.parametrize(
    ("pairs", "change", "words"),
    [
        ([{}], {}, ["all 1 training pairs agree"]),
        ([{"same": False}], {}, ["all 1 training pairs differ"]),
        ([{"split": "test"}], {}, ["no pairs to train on"]),
        ([{}, {"problem_id": "b/1", "split": "test"}], {}, ["leaks: b/1"]),
        ([{}, {"second": 2, "same": False}], {"workers.num": 3}, ["16 is not a multiple"]),
        (
            [{}, {"second": 2, "same": False}],
            {"max_tokens": 16, "model": "nowhere/x/y"},
            ["nowhere"],
        ),
        (
            [{}, {"second": 2, "same": False}],
            {"prompt.template": "{first}{second}", "prompt.same_token": "certainly"},
            ["prompt.different_token"],
        ),
        (
            [{}, {"second": 2, "same": False}],
            {
                "prompt.template": "{first}{second}",
                "prompt.same_token": "certainly",
                "prompt.different_token": "no",
            },
            ["no single token for its answer 'certainly'"],
        ),
    ],
)
def test_a_mistake_costs_one_line(pairs, change, words, tmp_path, monkeypatch, capsys):
    folder_of(tmp_path / "pairs", *pairs)
    settings = [word for key, value in change.items() for word in ("--set", f"{key}={value!r}")]
    monkeypatch.chdir(tmp_path)
    assert main(["train", "pairs", "--config", "tiny", "--out", "t", *settings]) == 2
    said = capsys.readouterr().err
    assert said.count("deepprune: ") == 1
    assert all(word in said for word in words), said
    assert not (tmp_path / "t").exists(), "nothing is left behind"


def test_what_is_no_folder_of_pairs_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no finished folder of pairs"):
        load_pairs(tmp_path)
    folder = folder_of(tmp_path / "p", {})
    with pytest.raises(UserError, match="no pairs at tokens:9, but at tokens:5"):
        load_pairs(folder, checkpoint="tokens:9")
    (folder / "prefixes" / "part-0.parquet").unlink()
    with pytest.raises(UserError, match="a pair without its prefix"):
        load_pairs(folder)
