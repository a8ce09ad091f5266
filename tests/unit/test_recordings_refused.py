"""Recordings that are refused: damaged, foreign, or ambiguous."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.support.recording_files import jsonl, parquet, refusal, trace


def test_nothing_there_is_said_so(tmp_path):
    assert "no file or folder" in refusal(tmp_path / "missing")
    assert "no tables" in refusal(tmp_path)
    lost = parquet(tmp_path / "t.parquet", [trace(fate="lost")])
    assert "no finished traces" in refusal(lost)


def test_a_truncated_file_is_named(tmp_path):
    path = parquet(tmp_path / "t.parquet", [trace(sample=s) for s in range(50)])
    path.write_bytes(path.read_bytes()[:-40])
    assert str(path) in refusal(path)
    path.write_bytes(b"")
    assert str(path) in refusal(path)


def test_damage_in_the_middle_of_a_file_is_noticed(tmp_path):
    rows = [trace(sample=s, text=f"{s}" * 400) for s in range(300)]
    path = parquet(tmp_path / "t.parquet", rows)
    content = bytearray(path.read_bytes())
    for place in range(8, len(content) // 2):
        content[place] ^= 0x5A
    path.write_bytes(bytes(content))
    refusal(path)


def test_a_foreign_table_is_refused_with_what_it_lacks(tmp_path):
    message = refusal(parquet(tmp_path / "t.parquet", [{"prompt": "a", "response": "b"}]))
    assert "problem_id, problem, sample, text" in message and "prompt" in message
    assert "import --map" in message
    assert "line 2: no column text" in refusal(
        jsonl(tmp_path / "t.jsonl", [trace(), {k: v for k, v in trace().items() if k != "text"}])
    )
    (tmp_path / "t.csv").write_text("problem,text\n1,2\n")
    assert "line 2: no columns problem_id, sample" in refusal(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.xlsx", "t.txt", "t.parquet.gz", "t.gz", "t"])
def test_a_format_that_is_not_read_is_refused_with_those_that_are(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    for known in ("Parquet", ".jsonl", ".json:", ".csv", ".gz"):
        assert known in refusal(tmp_path / name)


PACKED = gzip.compress(json.dumps(trace()).encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}\n", "cannot read"),
        (PACKED[:-9], "cannot read"),
        (PACKED[:12] + b"\xff\xff\xff\xff", "cannot read"),
        (gzip.compress(b"{"), "line 1: expected one JSON object per line"),
    ],
    ids=["not compressed", "truncated", "damaged", "no JSON"],
)
def test_a_damaged_compressed_file_is_refused(tmp_path, content, said):
    (tmp_path / "t.jsonl.gz").write_bytes(content)
    message = refusal(tmp_path / "t.jsonl.gz")
    assert said in message and "t.jsonl.gz" in message


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"[{}, ", "expected a JSON array of objects"),
        (b"[1]", "row 1: expected a JSON array of objects"),
        (b" [" * 100_000, "expected a JSON array of objects"),
        (b'{\n "a": 1}', "line 1: expected one JSON object per line"),
    ],
    ids=["truncated", "numbers", "too deep", "an object"],
)
def test_json_that_holds_no_rows_is_refused(tmp_path, rows, said):
    (tmp_path / "t.json").write_bytes(rows)
    assert said in refusal(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b'a,b\n1,"2', "line 2: expected CSV with a header"),
        (b"a,b\n\n1\n", "line 3: 1 cells under a header of 2"),
        (b"a,b\n1,\xff\n", "expected CSV with a header"),
        (b"problem_id,problem,sample,text\nb/0,p,two,t\n", "line 2: sample holds 'two'"),
        (b"problem_id,problem,sample,text\nb/0,p,NaN,t\n", "line 2: sample holds nan"),
    ],
)
def test_bad_csv_is_refused(tmp_path, rows, said):
    (tmp_path / "t.csv").write_bytes(rows)
    assert said in refusal(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sample": "three"}, "sample holds 'three', where a whole number should be"),
        ({"sample": 1.5}, "sample holds 1.5"),
        ({"sample": None}, "without a sample"),
        ({"problem_id": None}, "without a problem_id"),
        ({"text": 5}, "text holds 5, where a text should be"),
        ({"answer": 5}, "answer holds 5"),
        ({"text": None, "fate": "finished"}, "has no text"),
        ({"confidence": [1, "a"]}, "confidence holds"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tmp_path, wrong, said):
    assert said in refusal(jsonl(tmp_path / "t.jsonl", [trace(), trace(sample=1) | wrong]))


@pytest.mark.parametrize("line", ["[1]", "{", "\x00", '{"a": \ud800}', "[" * 100_000])
def test_a_line_that_is_no_json_object_is_counted(tmp_path, line):
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        json.dumps(trace()).encode() + b"\n" + line.encode(errors="surrogatepass") + b"\n"
    )
    assert "line 2: expected one JSON object per line" in refusal(path)


def test_parts_of_different_types_are_refused(tmp_path):
    parquet(tmp_path / "a.parquet", [trace(sample=0)])
    parquet(tmp_path / "b.parquet", [trace() | {"sample": "1"}])
    assert "b.parquet" in refusal(tmp_path)


def test_a_sample_that_is_there_twice_is_named(tmp_path):
    parquet(tmp_path / "a.parquet", [trace(sample=0), trace(sample=3)])
    parquet(tmp_path / "b.parquet", [trace(sample=3)])
    assert "sample 3 of b/0 by m is there twice" in refusal(tmp_path)


@pytest.mark.parametrize("column", ["problem", "reference"])
def test_one_id_for_two_problems_is_refused(tmp_path, column):
    path = parquet(tmp_path / "t.parquet", [trace(), trace(sample=1) | {column: "another"}])
    assert f"b/0 has 2 different values of {column}" in refusal(path)
