"""Imports of recorded traces: columns, paths, formats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepprune.errors import UserError
from deepprune.recordings import load_recordings
from deepprune.schemas import TRACES
from tests.support.importing import MAP, ROWS, import_, jsonl, refusal


@pytest.fixture
def source(tmp_path) -> Path:
    return jsonl(tmp_path / "theirs.jsonl", ROWS)


def test_prompts_and_responses_become_a_recording(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert import_("--map", MAP, source, "--out", out, "--benchmark", "sums", "--model", "m") == 0
    said = capsys.readouterr().err
    assert said.startswith("2 problems, 3 traces, 1 of them without an answer: saved in")
    one, other = sorted(load_recordings(out), key=lambda recording: recording.problem.text)
    assert one.problem.problem_id.startswith("sums/")
    assert one.problem.problem_id != other.problem.problem_id
    assert (one.problem.text, one.problem.reference, one.model) == ("1+1?", None, "m")
    assert [(t.sample, t.answer) for t in one.traces] == [(0, "2"), (1, None)]
    (part,) = (out / "traces").iterdir()
    assert pq.read_schema(part).names == TRACES.names


def test_columns_that_are_mapped_are_taken_as_they_are(source, tmp_path):
    out = tmp_path / "out"
    more = "answer=final,reference=gold,problem_id=id"
    assert import_(source, "--map", MAP, "--map", more, "--out", out) == 0
    one, other = load_recordings(out)
    assert (one.problem.problem_id, one.problem.reference) == ("imported/1", "2")
    assert [t.answer for t in one.traces] == ["2", "3"]
    assert [t.answer for t in other.traces] == [None]


def test_several_sources_of_both_formats_are_one_recording(source, tmp_path):
    theirs = pa.table({"prompt": ["1+1?"], "response": ["\\boxed{2}"], "extra": [1]})
    pq.write_table(theirs, tmp_path / "more.parquet")
    out = tmp_path / "out"
    assert import_(source, tmp_path / "more.parquet", "--map", MAP, "--out", out) == 0
    assert sorted(len(r.traces) for r in load_recordings(out)) == [1, 3]


DOC = {"problem": "1+1?", "id": 7}
HARNESS = [
    {"doc": DOC, "resps": [["\\boxed{2}", "\\boxed{3}"]], "target": "2", "doc.id": "literal"},
    {"doc": DOC, "resps": [["\\boxed{4}"]], "target": "2", "doc.id": "literal"},
]
HARNESS_MAP = "problem=doc.problem,text=resps[0][*],reference=target"


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    return jsonl(path, rows)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_paths_lead_into_nested_columns_and_each_generation_is_a_trace(tmp_path, suffix):
    source = write(tmp_path / f"samples{suffix}", HARNESS)
    out = tmp_path / "out"
    more = "problem_id=doc.id"
    assert import_(source, "--map", HARNESS_MAP, "--map", more, "--out", out) == 0
    (recording,) = load_recordings(out)
    assert recording.problem.problem_id == "imported/literal", "a literal name wins"
    assert (recording.problem.text, recording.problem.reference) == ("1+1?", "2")
    assert [(t.sample, t.answer) for t in recording.traces] == [(0, "2"), (1, "3"), (2, "4")]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_list_of_generations_is_paired_with_lists_beside_it(tmp_path, suffix):
    rows = [
        {"p": "a", "g": ["x", "\ud83d", None], "a": ["1", "", None], "n": [5, 6, 7], "f": None},
        {"p": "b", "g": ["y"], "a": ["2"], "n": None, "f": "stop"},
    ]
    if suffix == ".parquet":
        rows[0]["g"] = ["x", "\ufffd", None]
    out = tmp_path / "out"
    more = "problem=p,text=g,answer=a,num_tokens=n,finish_reason=f"
    assert import_(write(tmp_path / f"s{suffix}", rows), "--map", more, "--out", out) == 0
    traces = {r.problem.text: r.traces for r in load_recordings(out)}
    assert [(t.text, t.answer, t.num_tokens) for t in traces["a"]] == [
        ("x", "1", 5),
        ("\ufffd", None, 6),
    ]
    assert [(t.answer, t.finish_reason) for t in traces["b"]] == [("2", "stop")]


def test_a_path_may_go_on_behind_the_list_of_generations(tmp_path):
    rows = [{"d.p": "a", "d.out": [{"m": {"content": "x"}}, {"m": {"content": "y"}}, None]}]
    source, out = jsonl(tmp_path / "s.jsonl", rows), tmp_path / "out"
    assert import_(source, "--map", "problem=d.p,text=d.out[*].m.content", "--out", out) == 0
    (recording,) = load_recordings(out)
    assert [t.text for t in recording.traces] == ["x", "y"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("problem=doc.question,text=resps[0][*]", " 1: doc has no question (found id, problem)"),
        ("problem=task.p,text=resps[0][*]", "no column task.p (found doc, doc.id, resps, target)"),
        ("problem=doc.problem,text=resps[1][*]", " 1: resps has no [1] (its list holds 1)"),
        ("problem=doc[0],text=resps[0][*]", " 1: doc holds {"),
        ("problem=target.x,text=resps[0][*]", " 1: target holds '2', where an object should be"),
        ("problem=doc.problem,text=resps[*]", " 1: resps[*] holds ["),
        ("problem=doc.problem,text=resps[x]", "no column resps[x] (found"),
        ("problem=resps[0][*],text=target", " 1: resps[0][*] holds ["),
        ("problem=doc,text=target", " 1: doc holds {"),
        (
            "problem=doc.problem,text=resps[0][*],answer=target",
            " 1: target holds 1 value for 2 texts: map a column with one answer for each text",
        ),
    ],
)
def test_a_path_that_leads_to_nothing_is_refused(tmp_path, capsys, suffix, columns, said):
    source = write(tmp_path / f"s{suffix}", HARNESS)
    assert said in refusal(capsys, source, "--map", columns, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_references_that_mean_the_same_are_one(tmp_path):
    rows = [
        {"prompt": "p", "response": "\\boxed{33}", "gold": gold} for gold in ("033", "33", "", 33)
    ]
    source, out = jsonl(tmp_path / "s.jsonl", rows), tmp_path / "out"
    assert import_(source, "--map", MAP + ",reference=gold", "--out", out) == 0
    (recording,) = load_recordings(out)
    assert recording.problem.reference == "033"
    assert len(recording.traces) == len(rows)


def test_half_a_surrogate_pair_and_odd_characters_are_imported(tmp_path):
    texts = ["bad \ud83d half", "nul \x00", "a\u2028b\x85c"]
    source = jsonl(tmp_path / "s.jsonl", [{"prompt": "p\ude00", "response": t} for t in texts])
    out = tmp_path / "out"
    assert import_(source, "--map", MAP, "--out", out) == 0
    (recording,) = load_recordings(out)
    assert recording.problem.text == "p\ufffd"
    assert [t.text for t in recording.traces] == ["bad \ufffd half", *texts[1:]]


def test_a_blank_answer_is_no_answer(source, tmp_path, capsys):
    jsonl(source, [ROWS[0] | {"final": blank} for blank in ("", " ", "42")])
    assert import_(source, "--map", MAP + ",answer=final", "--out", tmp_path / "out") == 0
    assert "2 of them without an answer" in capsys.readouterr().err
    (recording,) = load_recordings(tmp_path / "out")
    assert [t.answer for t in recording.traces] == [None, None, "42"]


def test_blank_lines_are_passed_over_and_counted(source, tmp_path, capsys):
    source.write_text(source.read_text().replace("\n", "\n\n"))
    assert import_(source, "--map", MAP, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().err.startswith("2 problems, 3 traces")
    source.write_text(source.read_text() + '{"prompt": "", "response": "r"}\n')
    said = refusal(capsys, source, "--map", MAP, "--out", tmp_path / "other")
    assert "line 7: prompt is empty" in said


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["p", "q", "r", "\\boxed", "é\n"]),
            st.none() | st.text(max_size=20),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_response_with_a_text_comes_back_once(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("import")
    source = jsonl(folder / "s.jsonl", [{"prompt": p, "response": r} for p, r in pairs])
    assert import_(source, "--map", MAP, "--out", folder / "out") == 0
    wanted: dict[str, list[str]] = {}
    for problem, response in pairs:
        if response is not None:
            wanted.setdefault(problem, []).append(response)
    if not wanted:
        with pytest.raises(UserError):
            load_recordings(folder / "out")
        return
    found = {r.problem.text: [t.text for t in r.traces] for r in load_recordings(folder / "out")}
    assert found == wanted


def test_memory_does_not_grow_with_the_source(tmp_path):
    program = """
import resource, sys
from jobs.cli import main
assert main(["import", sys.argv[1], "--map", sys.argv[2], "--out", sys.argv[3]]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

    def peak_kib(num_rows: int) -> int:
        text = "x" * 10_000
        theirs = pa.table({"p": ["p"] * num_rows, "r": [text] * num_rows, "a": ["1"] * num_rows})
        source = tmp_path / f"{num_rows}.parquet"
        pq.write_table(theirs, source, use_dictionary=False)
        arguments = [str(source), "problem=p,text=r,answer=a", str(tmp_path / f"out{num_rows}")]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert peak_kib(8_000) - peak_kib(1_000) < 40_000, "the larger source holds 80 MB of text"
