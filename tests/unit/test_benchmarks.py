from __future__ import annotations

import gzip
import json
import os
import sys
from types import SimpleNamespace

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepprune.errors import UserError
from jobs.storage.benchmarks import CHOICE_INSTRUCTION, HUB, MATH_INSTRUCTION, load_benchmark
from miniature.problems import generate_problems

SHA1 = 40


def rows_like_the_hubs(dataset: str, config: str | None) -> list[dict]:
    match dataset:
        case "AI-MO/aimo-validation-aime":
            wiki = "https://artofproblemsolving.com/wiki/index.php"
            return [
                {
                    "id": 0,
                    "problem": f"{year} {exam} {n}",
                    "answer": f"{n}",
                    "url": f"{wiki}/{year}_AIME_{exam}_Problems/Problem_{n}",
                }
                for year in (2022, 2023, 2024)
                for exam in ("I", "II")
                for n in range(1, 16)
            ]
        case "opencompass/AIME2025":
            return [{"question": f"{config} {n}", "answer": str(n)} for n in range(15)]
        case "HuggingFaceH4/MATH-500":
            return [
                {
                    "problem": f"p{n}",
                    "answer": "\\frac{1}{2}",
                    "unique_id": f"test/algebra/{n}.json",
                }
                for n in range(500)
            ]
        case "openai/gsm8k":
            return [
                {"question": f"q{n}", "answer": f"So <<2*{n}={2 * n}>>.\n#### 1,{n:03}"}
                for n in range(1319)
            ]
        case "Idavidrein/gpqa":
            wrong = {f"Incorrect Answer {n}": f" wrong {n} " for n in (1, 2, 3)}
            return [
                {"Record ID": f"rec{n}", "Question": "Which?\n", "Correct Answer": " right "}
                | wrong
                for n in range(198)
            ]
    raise AssertionError(dataset)


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the hub's client, and the calls it was given."""
    calls = []

    def load_dataset(dataset, config, *, split, revision):
        calls.append((dataset, config, split, revision))
        return rows_like_the_hubs(dataset, config)

    monkeypatch.setattr(httpx, "head", lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return calls


@pytest.mark.parametrize("name", HUB)
def test_every_benchmark_is_pinned_and_complete(hub, name):
    benchmark = load_benchmark(name)
    assert len(benchmark.problems) == HUB[name].count
    ids = [problem.problem_id for problem in benchmark.problems]
    assert len(set(ids)) == len(ids) and all(i.startswith(f"{name}/") for i in ids)
    assert all(problem.reference for problem in benchmark.problems)
    assert {len(revision) for *_, revision in hub} == {SHA1}
    assert benchmark.source["revision"] == hub[0][-1]
    assert benchmark.problems == load_benchmark(name).problems


def test_aime_is_told_apart_by_year_and_exam(hub):
    problems = {p.problem_id: p for p in load_benchmark("aime23").problems}
    assert problems["aime23/II-4"].text == f"2023 II 4\n\n{MATH_INSTRUCTION}"
    assert load_benchmark("aime25").problems[-1].problem_id == "aime25/II-15"


def test_the_reference_of_gsm8k_is_its_final_number(hub):
    assert load_benchmark("gsm8k").problems[7].reference == "1007"


def test_options_of_gpqa_are_shuffled_once_and_for_all(hub):
    problems = load_benchmark("gpqa-diamond").problems
    for problem in problems:
        assert f"({problem.reference}) right\n" in problem.text.replace("\n\n", "\n")
        assert problem.text.endswith(CHOICE_INSTRUCTION)
        assert problem.answer_kind == "choice"
    assert {problem.reference for problem in problems} == set("ABCD")


def test_a_part_of_a_benchmark(hub):
    benchmark = load_benchmark("aime24", slice(2, 4))
    assert [p.problem_id for p in benchmark.problems] == ["aime24/I-3", "aime24/I-4"]
    assert benchmark.source == load_benchmark("aime24").source
    with pytest.raises(UserError, match="has 30 problems, and none of these"):
        load_benchmark("aime24", slice(30, 40))


def test_another_instruction_or_kind_is_another_benchmark(hub):
    usual = load_benchmark("aime24")
    bare = load_benchmark("aime24", instruction="", kind="auto")
    assert bare.problems[0].text == "2024 I 1"
    assert bare.problems[0].answer_kind == "auto"
    assert bare.source != usual.source


def test_a_hub_with_something_else_is_refused(hub, monkeypatch):
    monkeypatch.setattr("tests.unit.test_benchmarks.rows_like_the_hubs", lambda *_: [])
    with pytest.raises(UserError, match="0 problems in HuggingFaceH4/MATH-500, expected 500"):
        load_benchmark("math500")


def test_without_a_hub_one_line_says_what_works_instead(monkeypatch):
    def head(*_, **__):
        raise httpx.ConnectError("no route to host")

    def load_dataset(*_, **__):
        assert os.environ["HF_HUB_OFFLINE"] == "1", "else its client tries for half a minute"
        raise ConnectionError("not cached\nhere")

    monkeypatch.setattr(httpx, "head", head)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for client in (None, SimpleNamespace(load_dataset=load_dataset)):
        monkeypatch.setitem(sys.modules, "datasets", client)
        with pytest.raises(UserError) as caught:
            load_benchmark("aime24")
        message = str(caught.value)
        assert "\n" not in message
        assert ".parquet" in message and ".jsonl" in message and "problem and reference" in message


def test_miniature_needs_no_hub():
    benchmark = load_benchmark("miniature", slice(0, 5))
    assert list(benchmark.problems) == generate_problems(2026, 5, range(2), split="demo")
    longer = load_benchmark("miniature", slice(2, 30))
    assert longer.problems[:3] == benchmark.problems[2:]
    assert longer.source == benchmark.source
    judge = load_benchmark("miniature:judge").problems
    assert {p.text for p in judge}.isdisjoint(p.text for p in load_benchmark("miniature").problems)
    with pytest.raises(UserError, match="splits train, judge, demo"):
        load_benchmark("miniature:other")
    with pytest.raises(UserError, match="from the first"):
        load_benchmark("miniature", slice(0, 0))


@pytest.mark.parametrize("columns", [("problem", "reference"), ("question", "answer")])
def test_a_local_file_is_a_benchmark(tmp_path, columns):
    problem, reference = columns
    rows = [{problem: "1+1?", reference: "2"}, {problem: None, reference: None}]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    benchmark = load_benchmark(str(path), kind="math")
    first, empty = benchmark.problems
    assert (first.problem_id, first.text, first.reference) == ("sums/0", "1+1?", "2")
    assert first.answer_kind == "math"
    assert (empty.text, empty.reference) == ("", None)
    instructed = load_benchmark(str(path), instruction="Box it.")
    assert [p.text for p in instructed.problems] == ["1+1?\n\nBox it.", ""]
    path.write_text(path.read_text().replace("1+1", "1+2"))
    assert load_benchmark(str(path), kind="math").source != benchmark.source


def test_ids_and_numbers_of_a_local_parquet_file(tmp_path):
    path = tmp_path / "b.parquet"
    rows = {"problem_id": [7, 8], "question": ["q", "r"], "answer": [1.5, 2]}
    pq.write_table(pa.table(rows), path)
    problems = load_benchmark(str(path)).problems
    assert [(p.problem_id, p.reference) for p in problems] == [("b/7", "1.5"), ("b/8", "2.0")]


@pytest.mark.parametrize("name", ["sums.json", "sums.json.gz", "sums.csv", "sums.csv.gz"])
def test_a_local_file_may_be_an_array_csv_or_compressed(tmp_path, name):
    rows = '[{"problem": "1+1?", "answer": "2"},\n {"problem": "p\\ud83d", "answer": ""}]'
    if ".csv" in name:
        rows = "problem,answer\n1+1?,2\n\np\ufffd,\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(rows.encode()) if path.suffix == ".gz" else rows.encode())
    benchmark = load_benchmark(str(path))
    assert [(p.problem_id, p.text, p.reference) for p in benchmark.problems] == [
        ("sums/0", "1+1?", "2"),
        ("sums/1", "p\ufffd", None),
    ]
    assert benchmark.name == "sums"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"problem": "p"}], "no column reference or answer"),
        ([{"reference": "p"}], "no column problem or question"),
        ([], "holds no problems"),
        ([{"problem_id": 1, "problem": "p", "answer": 1}] * 2, "b/1 is there twice"),
        ([{"problem": ["p"], "answer": 1}], "line 1: problem holds"),
    ],
)
def test_a_local_file_that_is_no_benchmark_is_refused(tmp_path, rows, said):
    path = tmp_path / "b.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=said):
        load_benchmark(str(path))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match=r"'aime99'.*aime22.*miniature.*\.jsonl"):
        load_benchmark("aime99")
