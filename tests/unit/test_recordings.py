"""Recordings: every format, and which traces make one."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from deepprune.recordings import load_recordings
from deepprune.schemas import TRACES
from tests.support.recording_files import jsonl, parquet, refusal, trace
from tests.support.sample_results import PROBLEM, cons, pruned
from tests.unit.test_run_store import Store


def json_array(path: Path, rows: list) -> Path:
    path.write_text("\ufeff\n" + json.dumps(rows, indent=1))
    return path


def csv_file(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("write", [parquet, jsonl])
def test_a_file_becomes_a_recording_for_each_problem_and_model(tmp_path, write):
    rows = [trace(p, s, model=m) for p in (10, 2) for s in (1, 0) for m in ("m", "k")]
    recordings = load_recordings(write(tmp_path / f"traces.{write.__name__}", rows))
    assert [(r.problem.problem_id, r.model) for r in recordings] == [
        ("b/2", "k"),
        ("b/2", "m"),
        ("b/10", "k"),
        ("b/10", "m"),
    ]
    first = recordings[0]
    assert (first.problem.text, first.problem.reference) == ("What is 2?", "2")
    assert [t.sample for t in first.traces] == [0, 1]
    assert first.traces[0].answer == "2"


@pytest.mark.parametrize(
    ("write", "suffix"),
    [(parquet, ""), (jsonl, ".jsonl"), (jsonl, ".json"), (json_array, ".json"), (csv_file, ".csv")],
)
def test_all_formats_hold_the_same(tmp_path, write, suffix):
    rows = [
        trace(sample=0, text='\u2028\x85\x00 a\r\nb, "c" ' + "x" * 200_000, num_tokens=12),
        trace(sample=1, answer=None, num_tokens=None),
    ]
    expected = load_recordings(jsonl(tmp_path / "expected.jsonl", rows))
    path = write(tmp_path / f"t{suffix}", rows)
    assert load_recordings(path) == expected
    if suffix:
        packed = tmp_path / f"t{suffix}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert load_recordings(packed) == expected
        path.unlink()
        (tmp_path / "expected.jsonl").unlink()
        assert load_recordings(tmp_path) == expected


def test_blank_lines_are_passed_over_and_counted(tmp_path):
    path = jsonl(tmp_path / "t.jsonl", [trace(), trace(sample=1)])
    path.write_text(path.read_text().replace("\n", "\n\n \r\n"))
    (recording,) = load_recordings(path)
    assert len(recording.traces) == 2
    path.write_text(path.read_text() + "{\n")
    assert "line 7: expected one JSON object" in refusal(path)


def test_half_a_surrogate_pair_is_replaced(tmp_path):
    row = trace() | {"problem": "\ud83d?"}
    row |= {"text": "a\ude00b \ud83d", "model": "m\ud83d", "answer": "\ud83d1"}
    (recording,) = load_recordings(jsonl(tmp_path / "t.jsonl", [row]))
    assert (recording.problem.text, recording.model) == ("\ufffd?", "m\ufffd")
    (found,) = recording.traces
    assert (found.text, found.answer) == ("a\ufffdb \ufffd", "\ufffd1")


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_answer_or_reference_is_none(tmp_path, blank):
    rows = [trace(answer=blank, reference=blank), trace(sample=1)]
    (recording,) = load_recordings(parquet(tmp_path / "t.parquet", rows))
    assert [t.answer for t in recording.traces] == [None, "0"]
    assert recording.problem.reference == "0"


def test_of_equivalent_references_the_first_counts(tmp_path):
    rows = [trace(sample=s, reference=r) for s, r in enumerate(("033", "33", "033", "$33$"))]
    (recording,) = load_recordings(jsonl(tmp_path / "t.jsonl", rows))
    assert recording.problem.reference == "033"


def test_parts_of_a_folder_are_one_recording_and_unfinished_ones_are_not_read(tmp_path):
    parquet(tmp_path / "traces" / "part-0.parquet", [trace(sample=0)])
    parquet(tmp_path / "traces" / "part-1.parquet", [trace(sample=1)])
    (tmp_path / "traces" / "_part-2.parquet.part").write_bytes(b"PAR1 half")
    (recording,) = load_recordings(tmp_path)
    assert len(recording.traces) == 2
    assert load_recordings(tmp_path / "traces") == [recording]


def test_only_finished_traces_can_be_replayed(tmp_path):
    fates = ("finished", "lost", "cancelled_after_checkpoint", None)
    rows = [trace(sample=s, fate=fate, num_tokens=7) for s, fate in enumerate(fates)]
    (recording,) = load_recordings(parquet(tmp_path / "t.parquet", rows, TRACES))
    assert [t.sample for t in recording.traces] == [0, 3]


def test_all_that_was_recorded_of_a_trace_is_there(tmp_path):
    recorded = trace(
        num_tokens=9,
        prefix_chars=5,
        prefix_tokens=3,
        finish_reason="stop",
        confidence=[1.5, 2.0],
        confidence_window=4,
    )
    (recording,) = load_recordings(parquet(tmp_path / "t.parquet", [recorded], TRACES))
    (found,) = recording.traces
    assert (found.num_tokens, found.prefix_chars, found.prefix_tokens) == (9, 5, 3)
    assert (found.confidence, found.confidence_window) == ((1.5, 2.0), 4)
    assert found.finish_reason == "stop"


def test_tokens_and_answers_that_were_not_recorded_come_from_the_text(tmp_path):
    row = trace(text="x" * 28 + "\\boxed{B}")
    del row["answer"]
    path = jsonl(tmp_path / "t.jsonl", [row])
    (recording,) = load_recordings(path, kind="choice", chars_per_token=3.7)
    assert recording.traces[0].num_tokens == 10
    assert recording.traces[0].answer == "B"
    assert recording.problem.answer_kind == "choice"


def test_an_answer_that_was_recorded_as_none_stays_none(tmp_path):
    rows = [trace(answer=None), trace(sample=1)]
    (recording,) = load_recordings(jsonl(tmp_path / "t.jsonl", rows))
    assert [t.answer for t in recording.traces] == [None, "0"]


def test_a_column_of_answers_that_is_null_throughout_is_left_and_warned_of(tmp_path, caplog):
    rows = [trace(sample=sample, answer=None) for sample in range(3)]
    (recording,) = load_recordings(parquet(tmp_path / "t.parquet", rows))
    assert [t.answer for t in recording.traces] == ["0"] * 3
    assert "null throughout" in caplog.text


def test_answers_in_tags_are_read_off_the_texts_where_the_column_is_mostly_null(tmp_path, caplog):
    rows = [
        trace(sample=sample, text=f"So <answer>{sample}</answer>", answer=answer)
        for sample, answer in enumerate(["0", None, None])
    ]
    path = jsonl(tmp_path / "t.jsonl", rows)
    (recording,) = load_recordings(path)
    assert [t.answer for t in recording.traces] == ["0", None, None]
    assert "null for 2 of 3 traces" in caplog.text and "answers: texts" in caplog.text
    (recording,) = load_recordings(path, answers="texts")
    assert [t.answer for t in recording.traces] == ["0", "1", "2"]


def test_configurations_are_one_recording_unless_their_samples_clash(tmp_path):
    apart = [trace(sample=s, config=f"c{s}") for s in range(2)]
    (recording,) = load_recordings(parquet(tmp_path / "apart.parquet", apart))
    assert (recording.model, len(recording.traces)) == ("m", 2)
    clashing = [trace(config=f"c{c}") for c in range(2)] + [trace(problem=1, config="c0")]
    recordings = load_recordings(parquet(tmp_path / "clash.parquet", clashing))
    assert [(r.problem.problem_id, r.model) for r in recordings] == [
        ("b/0", "m (c0)"),
        ("b/0", "m (c1)"),
        ("b/1", "m (c0)"),
    ]


def test_of_several_policies_the_one_that_finished_most_is_the_recording(tmp_path):
    store = Store(tmp_path / "run")
    store.write(pruned())
    store.write(cons())
    (recording,) = load_recordings(tmp_path / "run")
    assert recording.problem.problem_id == PROBLEM.problem_id
    assert len(recording.traces) == 6


def test_of_several_cells_the_fullest_is_the_recording_and_of_equals_the_first_seed(tmp_path):
    cells = {"cons-a/1": 3, "cons-a/0": 3, "cons-b/0": 2}
    rows = [
        trace(sample=s, policy="cons", cell=cell, text=cell)
        for cell, count in cells.items()
        for s in range(count)
    ]
    (recording,) = load_recordings(parquet(tmp_path / "t.parquet", rows, TRACES))
    assert [t.text for t in recording.traces] == ["cons-a/0"] * 3
    assert recording.cell == "cons-a/0"
