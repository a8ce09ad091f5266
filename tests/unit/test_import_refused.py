"""Imports that are refused, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepprune.errors import UserError
from deepprune.recordings import load_recordings
from deepprune.schemas import TRACES
from jobs.storage.import_traces import KINDS, parse_map
from tests.support.importing import MAP, ROWS, import_, jsonl, refusal


@pytest.fixture
def source(tmp_path) -> Path:
    return jsonl(tmp_path / "theirs.jsonl", ROWS)


def test_a_map_says_what_is_wrong_with_it():
    assert parse_map(["problem=a", "text=b , answer=c"]) == {
        "problem": "a",
        "text": "b",
        "answer": "c",
    }
    for wrong, said in (
        ("problem=a", "which column holds the text"),
        ("answer=a", "the problem and the text"),
        ("problem=a,text", "OURS=THEIRS"),
        ("problem=a,text=", "OURS=THEIRS"),
        ("problem=a,text=b,txt=c", "'txt' is not one of problem, text"),
        ("problem=a,text=b,text=c", "text twice"),
    ):
        with pytest.raises(UserError, match=said):
            parse_map([wrong])
    assert set(KINDS) <= set(TRACES.names)


def test_a_column_that_is_not_there_leaves_no_folder(source, tmp_path, capsys):
    out = tmp_path / "out"
    said = refusal(capsys, source, "--map", "problem=question,text=response", "--out", out)
    assert "no column question (found final, gold, id, prompt, response)" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": None, "response": "r"}, "prompt is empty"),
        ({"prompt": [{"role": "user"}], "response": "r"}, "line 4: prompt holds"),
        ({"prompt": "p", "response": 5}, "line 4: response holds 5"),
        ({"prompt": "p"}, "line 4: no column response"),
    ],
)
def test_a_bad_row_is_named_and_the_import_can_be_repeated(tmp_path, capsys, row, said):
    out = tmp_path / "out"
    source = jsonl(tmp_path / "s.jsonl", [*ROWS, row])
    assert said in refusal(capsys, source, "--map", MAP, "--out", out)
    assert not (out / "traces").exists()
    jsonl(source, ROWS)
    assert import_(source, "--map", MAP, "--out", out) == 0
    assert sum(len(r.traces) for r in load_recordings(out)) == len(ROWS)


def test_one_id_for_two_problems_is_refused(source, tmp_path, capsys):
    jsonl(source, [*ROWS, {"prompt": "other", "response": "r", "id": 1}])
    arguments = (source, "--map", MAP + ",problem_id=id", "--out", tmp_path / "out")
    assert "line 4: imported/1 stands for another problem" in refusal(capsys, *arguments)


def test_sources_that_hold_nothing_are_refused(tmp_path, capsys):
    out = tmp_path / "out"
    empty = jsonl(tmp_path / "s.jsonl", [])
    assert "hold no traces" in refusal(capsys, empty, "--map", MAP, "--out", out)
    assert "no file or folder" in refusal(capsys, tmp_path / "no", "--map", MAP, "--out", out)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    said = refusal(capsys, tmp_path / "t.parquet", "--map", MAP, "--out", out)
    assert "cannot be read as Parquet" in said


def test_a_recording_is_never_overwritten(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert import_(source, "--map", MAP, "--out", out) == 0
    capsys.readouterr()
    assert "already holds traces" in refusal(capsys, source, "--map", MAP, "--out", out)
