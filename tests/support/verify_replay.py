"""Replay a live outcome from its tables, event by event: the same decisions follow.

Shows that a run's tables hold all that its policy decided on, and lets a decision be followed in a
debugger without an engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from deepprune.confidence import lows
from deepprune.config import Reads
from deepprune.policies import make_policy
from deepprune.policy_config import PolicyConfig
from deepprune.promise import Terms
from deepprune.replay import Replay, ReplayTrace
from deepprune.seeds import stable_seed
from deepprune.session import Outcome
from deepprune.traces import Problem

_POLICY: TypeAdapter[PolicyConfig] = TypeAdapter(PolicyConfig)


class _RecordedJudge:
    """P(same) as the judge gave it, by (first, second)."""

    def __init__(self, scores: Sequence[Mapping[str, Any]]) -> None:
        self.reads: Reads = next((row["reads"] for row in scores if row.get("reads")), "pairs")
        self._scores = {(row["first"], row["second"]): row["p_same"] for row in scores}

    def p_same(self, second: int, firsts: Sequence[int]) -> Sequence[float]:
        # A score that never came was not waited for either.
        return [self._scores.get((first, second), math.nan) for first in firsts]


def replay_as_recorded(
    outcome: Mapping[str, Any],
    traces: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    terms: Terms | None = None,
) -> Outcome:
    """Run the policy of a row of the outcomes table again on that problem's traces and scores.

    `terms` are those of a sweep that learns: `jobs/sweep/turns.py` has them. Tokens of traces
    cancelled while they ran, and all seconds, are not replayed.

    Raises:
        ValueError: the policy decides otherwise than it did, or the run was interrupted.
    """
    policy = _POLICY.validate_json(outcome["settings"])
    known = {row["sample"]: row for row in traces}
    problem_id = outcome["problem_id"]
    problem = Problem(problem_id, traces[0]["problem"], outcome["reference"])
    return Replay(
        problem,
        [_trace(sample, known.get(sample)) for sample in range(policy.num_traces)],
        make_policy(policy, stable_seed(outcome["seed"], problem_id), terms),
        policy.name,
        judge=_RecordedJudge(scores),
        order=[(event["kind"], event["sample"]) for event in outcome["events"]],
    ).run()


def _trace(sample: int, row: Mapping[str, Any] | None) -> ReplayTrace:
    if row is None:  # never launched
        return ReplayTrace(sample, 1, None, None)
    return ReplayTrace(
        sample,
        row["num_tokens"],
        row["prefix_tokens"],
        row["answer"],
        lows(row["confidence"], row["confidence_window"], row["num_tokens"]),
    )
