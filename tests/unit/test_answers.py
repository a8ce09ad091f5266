"""Answers: found in any text, compared by meaning, and never able to hang a vote."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from deepprune import equivalence
from deepprune.answers import equivalent, extract_answer

TRACES = Path(__file__).parents[2].parent / "shared" / "data" / "traces"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} no, \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {x^{2_{3}}}", "x^{2_{3}}"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"\boxed{}", None),
        (r"\boxed{\text{(B)}}", "B"),
        (r"\boxed{C.}", "C"),
        ("The answer is (B).", "B"),
        ("**Answer: C**", "C"),
        ("the answer is: D", "D"),
        ("The answer is Apple", None),
        ("no answer", None),
        ("", None),
    ],
)
def test_the_last_answer_is_found(text, answer):
    assert extract_answer(text) == answer


def test_a_hostile_text_takes_no_more_than_one_pass():
    assert extract_answer("\\boxed{" * 100_000) is None
    assert extract_answer("\\boxed{" * 50_000 + "3" + "}" * 50_000) is not None


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("3", " 3.", True),
        ("$3$", "3.0", True),
        ("1,000", "1000", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac12", r"\dfrac{1}{2}", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"\{1,2\}", r"\{2,1\}", True),
        ("(1,2)", "(2,1)", False),
        ("x=5", "5", True),
        ("B", "C", False),
        ("2", "3", False),
        ("12345678901234567890", "12345678901234567891", False),
        (r"2\pi", "6.28", False),
        ("", "3", False),
    ],
)
def test_answers_are_compared_by_meaning(a, b, same):
    assert equivalent(a, b) is same
    assert equivalent(b, a) is same


@pytest.mark.parametrize("hostile", ["9^{9^{9^{9}}}", "10!!!!", "((((" * 200, "x" * 5000])
def test_a_hostile_answer_equals_nothing_and_hangs_nothing(hostile, monkeypatch):
    monkeypatch.setattr(equivalence, "TIME_LIMIT_S", 0.5)
    assert equivalent(hostile, "1") is False
    assert equivalent(r"\frac{1}{4}", "0.25"), "the next question is answered as ever"


def test_it_can_be_asked_from_a_thread_and_from_an_event_loop():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(equivalent(r"\frac{3}{4}", "0.75")))
    thread.start()
    thread.join()

    async def ask() -> bool:
        return equivalent(r"\frac{3}{8}", "0.375")

    answers.append(asyncio.run(ask()))
    assert answers == [True, True]


def test_the_worker_may_be_killed():
    assert equivalent(r"\frac{1}{5}", "0.2")
    process = equivalence._worker._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert equivalent(r"\frac{1}{8}", "0.125")
    assert equivalence._worker._process.pid != process.pid


@pytest.mark.skipif(not TRACES.is_dir(), reason="the recorded traces are not on this machine")
def test_recorded_answers_are_found_again():
    import pyarrow.parquet as pq

    agreed = total = 0
    for path in sorted(TRACES.glob("*.parquet")):
        for row in pq.read_table(path, columns=["text", "answer"]).to_pylist():
            if row["answer"] is not None and "boxed" in row["text"]:
                total += 1
                found = extract_answer(row["text"])
                agreed += found == row["answer"].strip() or found in row["answer"]
    assert total > 1000
    assert agreed / total > 0.98, f"{agreed} of {total}"
