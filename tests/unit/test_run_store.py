from dataclasses import fields, replace

import pyarrow.parquet as pq
import pytest

from deepprune.config import load_config
from deepprune.errors import UserError
from deepprune.ledger import Fate, Ledger
from deepprune.schemas import OUTCOMES, TRACES
from deepprune.traces import Problem
from jobs.storage.rows import Origin, write_solved
from jobs.storage.run_dir import RunDir
from tests.support import sample_results
from tests.support.tables import load_outcomes, load_scores, load_traces

CONFIG = load_config("cluster/laptop.yaml", {"seed": 3})


class Store:
    """A run's folder that is opened for each problem that is written to it."""

    def __init__(self, folder, config=CONFIG):
        self.folder, self._config = folder, config
        self.run_dir = RunDir(folder, config.model_dump(mode="json"))
        self.run_dir.check()

    def write(self, solved):
        with self.run_dir:
            write_solved(self.run_dir, solved, Origin.of(self._config))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs" / "one")


def test_an_outcome_comes_back_with_its_whole_ledger(store):
    solved = sample_results.pruned()
    store.write(solved)
    (row,) = load_outcomes(store.folder)
    assert {field.name: row[field.name] for field in fields(Ledger)} == {
        field.name: getattr(solved.outcome.ledger, field.name) for field in fields(Ledger)
    }
    assert (row["benchmark"], row["problem_id"], row["policy"]) == ("made", "made/7", "deepprune")
    assert (row["model"], row["seed"]) == ("miniature/reasoner", 3)
    assert (row["answer"], row["correct"], row["complete"]) == ("42", True, True)
    assert row["votes"] == [{"answer": "42", "count": 2, "samples": [0, 1], "weight": 2.0}]
    assert row["clusters"] == [[0, 1, 3], [2]]


def test_traces_come_back_with_their_fate(store):
    solved = sample_results.pruned()
    store.write(solved)
    rows = load_traces(store.folder)
    assert [row["sample"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["fate"] for row in rows] == [end.fate.value for end in solved.outcome.ends]
    assert [row["reason"] for row in rows][2:] == ["minority", "redundant", "saturated"]
    for row in rows:
        trace = solved.traces[row["sample"]]
        assert (row["text"], row["token_ids"]) == (trace.text, trace.token_ids)
        assert (row["prefix_chars"], row["answer"]) == (trace.prefix_chars, trace.answer)
        assert row["confidence"] == trace.confidence


def test_any_reader_of_parquet_sees_one_table(store):
    for problem_id in ("made/1", "made/2"):
        store.write(sample_results.cons(Problem(problem_id, problem_id)))
        store.write(sample_results.pruned(Problem(problem_id, problem_id)))
    assert pq.read_table(store.folder / "outcomes").schema.equals(OUTCOMES)
    assert pq.read_table(store.folder / "outcomes").num_rows == 4
    assert pq.read_table(store.folder / "traces").schema.equals(TRACES)
    assert pq.read_table(store.folder / "traces").num_rows == 2 * (6 + 5)


def test_traces_and_scores_have_the_key_of_their_outcome(store):
    again = replace(sample_results.pruned(), seed=4)
    for solved in (sample_results.pruned(), again, sample_results.cons()):
        store.write(solved)
    cells = {(row["policy"], row["seed"]): row["cell"] for row in load_outcomes(store.folder)}
    assert len(set(cells.values())) == 3
    assert {row["cell"] for row in load_traces(store.folder)} == set(cells.values())
    scored = {row["cell"] for row in load_scores(store.folder)}
    assert scored == {cells["deepprune", 3], cells["deepprune", 4]}


def test_the_configuration_lies_beside_and_loads_again(store):
    store.write(sample_results.cons())
    assert load_config(store.folder / "config.yaml") == CONFIG


def test_nothing_is_created_before_there_is_something_to_write(store):
    assert not store.folder.exists()


def test_the_same_problem_is_replaced_and_others_are_not(store):
    store.write(sample_results.interrupted(sample_results.pruned()))
    store.write(sample_results.pruned())
    assert [row["complete"] for row in load_outcomes(store.folder)] == [True]
    for problem in (Problem("made-7", "?"), Problem("made/7", "another text"), Problem("∑/7", "?")):
        store.write(sample_results.pruned(problem))
    assert len(load_outcomes(store.folder)) == 4


@pytest.mark.parametrize("table", ["traces", "outcomes"])
def test_a_crash_while_writing_loses_nothing_and_leaves_no_half_of_it(store, monkeypatch, table):
    store.write(sample_results.pruned())

    def full_disk(self, target):
        if table in self.parts:
            raise OSError("no space left on device")
        return original(self, target)

    original = type(store.folder).replace
    with monkeypatch.context() as patch:
        patch.setattr(type(store.folder), "replace", full_disk)
        with pytest.raises(UserError, match="no space"):
            store.write(sample_results.pruned(Problem("made/8", "?")))
    assert list((store.folder / table).glob("_*"))  # what the crash left behind
    assert [row["problem_id"] for row in load_outcomes(store.folder)] == ["made/7"]
    assert pq.read_table(store.folder / "outcomes").num_rows == 1

    again = Store(store.folder, CONFIG)
    again.write(sample_results.pruned(Problem("made/8", "?")))
    assert len(load_outcomes(store.folder)) == 2
    assert {row["problem_id"] for row in load_traces(store.folder)} == {"made/7", "made/8"}
    assert not list((store.folder / table).glob("_*"))


def test_interrupted_outcomes_without_votes_are_kept(store):
    store.write(sample_results.interrupted(sample_results.cons()))
    (row,) = load_outcomes(store.folder)
    assert row["answer"] is None and row["votes"] == [] and row["complete"] is False
    assert row["correct"] is False


def test_parts_from_before_a_column_was_added_still_load(store):
    store.write(sample_results.pruned())
    (part,) = (store.folder / "outcomes").glob("*.parquet")
    pq.write_table(pq.read_table(part).drop_columns(["judge_pairs"]), part)
    store.write(sample_results.cons())
    assert sorted(row["judge_pairs"] or 0 for row in load_outcomes(store.folder)) == [0, 0]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder"):
        Store(tmp_path / "file" / "run", CONFIG)


def test_a_trace_of_an_endpoint_has_no_token_ids(store):
    solved = sample_results.cons()
    solved.traces[0] = replace(solved.traces[0], token_ids=[])
    store.write(solved)
    assert load_traces(store.folder)[0]["token_ids"] == []


def test_a_lost_trace_says_why_and_others_say_nothing(store):
    solved = sample_results.cons()
    outcome = solved.outcome
    lost = replace(outcome.ends[2], fate=Fate.LOST, reason="replica lost")
    ends = (*outcome.ends[:2], lost, *outcome.ends[3:])
    store.write(replace(solved, outcome=replace(outcome, ends=ends)))
    errors = [row["error"] for row in load_traces(store.folder)]
    assert errors == [None, None, "replica lost", None, None, None]
