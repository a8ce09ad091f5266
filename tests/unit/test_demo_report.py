"""The demo's tables: each problem under each policy, and what the policies come to."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from deepprune.session import Outcome
from deepprune.traces import Problem
from jobs.sample.demo_report import PolicyRun, demo_report
from tests.support import sample_results

WRONG = Problem("made/8", "?", "13")
CONS = PolicyRun([sample_results.cons().outcome, sample_results.cons(WRONG).outcome], 9.5, "cons")
PRUNED = PolicyRun(
    [sample_results.pruned().outcome, sample_results.pruned(WRONG).outcome], 3.25, "deepprune"
)


def report(*others: PolicyRun, width: int = 80, num_interrupted: int = 0) -> str:
    console = Console(file=StringIO(), width=width, highlight=False)
    demo_report(CONS, others, num_interrupted=num_interrupted, console=console)
    return console.file.getvalue()


def rows_of(text: str, name: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith(name)]


def test_policies_are_compared_and_add_up():
    text = report(PRUNED)
    assert "cons 1 of 2 1,200 9.5" in rows_of(text, "cons")
    assert "deepprune 1 of 2 564 53% 100 10 2 of 2 3.2" in rows_of(text, "deepprune")
    assert "deepprune generated 53% fewer tokens than cons: the same answer on 2 of 2." in text
    assert text.count("✗") == text.count("✓") == 2
    assert "interrupted" not in text


def test_a_third_policy_has_its_own_columns_row_and_verdict():
    def other(outcome: Outcome) -> Outcome:
        decision = replace(outcome.decision, answer="41")
        return replace(outcome, policy="deepprune+", decision=decision)

    outcomes = [other(outcome) for outcome in PRUNED.outcomes]
    blunt = PolicyRun(outcomes, 2.0, "deepprune+, no judge", in_problems=False)
    text = report(PRUNED, PolicyRun(outcomes, 1.0, "deepprune+"), blunt)
    assert "deepprune+, no judge 0 of 2 564 53% 100 10 0 of 2 2.0" in rows_of(text, "deepprune+, n")
    assert "deepprune+ 0 of 2 564 53% 100 10 0 of 2 1.0" in rows_of(text, "deepprune+")
    assert "deepprune+ generated 53% fewer tokens than cons: the same answer on 0 of 2." in text
    assert rows_of(text, "7") == ["7 42 42 ✓ 42 ✓ 41 ✗ 600 282 282"]
    assert all(len(line) <= 80 for line in text.splitlines())


def test_interruptions_are_told_and_no_number_is_cut():
    text = report(PRUNED, width=30, num_interrupted=1)
    assert "1 problem left out: interrupted" in " ".join(text.split())
    assert "1,200" in text and "…" not in text
