"""Results made by hand: six traces of one problem, by self-consistency and by pruning."""

from __future__ import annotations

from dataclasses import replace

from actors.driver.coordinator import Solved
from actors.driver.live_trace import LiveTrace
from deepprune.events import Decision
from deepprune.ledger import Fate, Ledger, TraceEnd
from deepprune.policy_config import ConsConfig, DeepPruneConfig
from deepprune.session import Outcome
from deepprune.traces import Problem

PROBLEM = Problem("made/7", "What is [bold]$6 \\times 7?", "42")


def cons(problem: Problem = PROBLEM) -> Solved:
    """All six finish: four say 42, one 41, one gives no answer."""
    answers = ["42", "42", "41", None, "42", "42"]
    ends = tuple(TraceEnd(sample, Fate.FINISHED, "finished", 100) for sample in range(6))
    decision = Decision("42", (("42", (0, 1, 4, 5)), ("41", (2,))))
    ledger = Ledger(finished_tokens=600, finished_traces=6, wall_s=6.0, prompt_computed_tokens=9)
    traces = {
        sample: LiveTrace(
            seed=sample,
            text="think " * 100,
            token_ids=[1] * 100,
            num_tokens=100,
            finish_reason="stop",
            answer=answer,
        )
        for sample, answer in enumerate(answers)
    }
    outcome = Outcome(problem, "cons", decision, ends, ledger, complete=True, rounds=1)
    return Solved(outcome, traces, ConsConfig(num_traces=6), {}, 3)


def pruned(problem: Problem = PROBLEM) -> Solved:
    """Two of a cluster of three finish, two more are cancelled after the checkpoint, one before."""
    after, before = Fate.CANCELLED_AFTER_CHECKPOINT, Fate.CANCELLED_BEFORE_CHECKPOINT
    ends = (
        TraceEnd(0, Fate.FINISHED, "finished", 100),
        TraceEnd(1, Fate.FINISHED, "finished", 110),
        TraceEnd(2, after, "minority", 30),
        TraceEnd(3, after, "redundant", 32, late_tokens=2),
        TraceEnd(4, before, "saturated", 10),
    )
    decision = Decision("42", (("42", (0, 1)),), ((0, 1, 3), (2,)))
    ledger = Ledger(
        finished_tokens=210,
        finished_traces=2,
        cancelled_after_checkpoint_tokens=62,
        cancelled_after_checkpoint_traces=2,
        cancelled_before_checkpoint_tokens=10,
        cancelled_before_checkpoint_traces=1,
        late_tokens=2,
        judge_pairs=5,
        judge_computed_tokens=50,
        judge_cached_tokens=70,
        wall_s=2.5,
    )
    traces = {
        end.sample: LiveTrace(
            seed=end.sample,
            text="think " * end.num_tokens,
            token_ids=[1] * end.num_tokens,
            num_tokens=end.num_tokens,
            prefix_chars=None if end.fate is before else 6 * 30,
            finish_reason="stop" if end.fate is Fate.FINISHED else None,
            answer="42" if end.fate is Fate.FINISHED else None,
            confidence=[0.5],
        )
        for end in ends
    }
    outcome = Outcome(problem, "deepprune", decision, ends, ledger, complete=True, rounds=2)
    scores = {(0, 1): 0.9, (0, 2): 0.125, (0, 3): 0.75, (1, 3): 0.75, (2, 3): 0.25}
    return Solved(outcome, traces, DeepPruneConfig(num_traces=6, tau=0.5), scores, 3)


def interrupted(solved: Solved) -> Solved:
    """The same, stopped before anybody voted."""
    decision = replace(solved.outcome.decision, answer=None, votes=())
    return replace(solved, outcome=replace(solved.outcome, decision=decision, complete=False))
