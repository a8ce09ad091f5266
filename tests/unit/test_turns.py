"""Live sweeps that learn: terms follow from the order of problems, not from the order of ends."""

from __future__ import annotations

import random

import numpy as np

from deepprune.policies import promise_of
from deepprune.policy_config import PlusConfig
from deepprune.promise import Terms, tally
from deepprune.splits import Tally
from deepprune.traces import Problem
from jobs.sample.run import Task
from jobs.sweep.turns import Turns

POLICY = PlusConfig(name="deepprune+", trust=0, num_traces=32)
NAMES = [f"p{i}" for i in range(12)]
TASKS = {name: Task(Problem(name, "?", None), POLICY, 0) for name in NAMES}
LAG = 3


def votes(name: str) -> Tally:
    """The votes that a problem stops with: easy ones and hard ones take turns."""
    hard = NAMES.index(name) % 3 == 0
    groups = [range(0, 9), range(9, 16)] if hard else [range(0, 3)]
    lengths = {s: 100 + s for group in groups for s in group}
    return tally(groups, lengths, [90, 120], 20)


def run(seed: int, answered: dict[str, Tally] | None = None) -> tuple[dict[str, Terms], int]:
    """Terms by problem where problems end in a random order, and the most that ran together."""
    turns = Turns(TASKS, answered or {}, promise_of(POLICY), LAG)
    order, most = random.Random(seed), 0
    terms: dict[str, Terms] = {}
    running = list(turns.ready())
    while running:
        most = max(most, len(running))
        task = running.pop(order.randrange(len(running)))
        name = task.problem.problem_id
        assert task.terms is not None and name not in terms
        terms[name] = task.terms
        running += turns.ready_after(name, votes(name))
    return terms, most


def same(a: Terms, b: Terms) -> bool:
    return a.threshold == b.threshold and bool(np.array_equal(a.weights, b.weights))


def test_terms_do_not_depend_on_which_problem_ends_first():
    first, most = run(0)
    assert sorted(first) == sorted(NAMES) and most == LAG
    for seed in range(1, 6):
        terms, _ = run(seed)
        assert all(same(terms[name], first[name]) for name in NAMES)


def test_each_problem_has_the_terms_of_those_a_lag_before_it():
    terms, _ = run(0)
    promise = promise_of(POLICY)
    expected = [promise.terms] * LAG
    for name in NAMES[:-LAG]:
        promise.count(votes(name))
        expected.append(promise.terms)
    assert all(same(terms[name], e) for name, e in zip(NAMES, expected, strict=True))


def test_a_sweep_that_goes_on_has_the_same_terms_and_begins_nothing_again():
    whole, _ = run(0)
    on_disk = {name: votes(name) for name in ("p0", "p1", "p3", "p4", "p7")}
    rest, _ = run(1, on_disk)
    assert sorted(rest) == sorted(set(NAMES) - set(on_disk))
    assert all(same(rest[name], whole[name]) for name in rest)


def test_without_a_promise_all_begin_at_once_by_themselves():
    tasks = Turns(TASKS, {"p5": None}, None, LAG).ready()
    assert [task.problem.problem_id for task in tasks] == [n for n in NAMES if n != "p5"]
    assert all(task.terms is None for task in tasks)
