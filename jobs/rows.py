"""Outcomes as rows of the outcomes table (`deepprune/schemas.py`)."""

from __future__ import annotations

from typing import Any

from deepprune.policy_config import JudgingConfig, PaperRules, PolicyConfig
from deepprune.schemas import LEDGER_FIELDS
from deepprune.session import Outcome
from jobs.tables import is_correct


def outcome_row(
    outcome: Outcome,
    policy: PolicyConfig,
    *,
    model: str,
    driver: str,
    judge: str | None,
    seed: int,
) -> dict[str, Any]:
    """One row; `judge` names the judge where there is one, `driver` is `live` or `replay`."""
    problem, decision = outcome.problem, outcome.decision
    judging = policy if isinstance(policy, JudgingConfig) else None
    return {
        "benchmark": benchmark_of(problem.problem_id),
        "problem_id": problem.problem_id,
        "reference": problem.reference,
        "model": model,
        "driver": driver,
        "policy": outcome.policy,
        "judge": judge if judging else None,
        "num_traces": policy.num_traces,
        "checkpoint": judging.checkpoint if judging else None,
        "tau": policy.tau if isinstance(policy, PaperRules) else None,
        "settings": policy.model_dump_json(),
        "seed": seed,
        "answer": outcome.answer,
        "correct": is_correct(outcome),
        "complete": outcome.complete,
        "votes": [
            {
                "answer": answer,
                "count": len(samples),
                "samples": samples,
                "weight": decision.weights[place] if decision.weights else float(len(samples)),
            }
            for place, (answer, samples) in enumerate(decision.votes)
        ],
        "clusters": decision.clusters,
        "ends": [
            {
                "sample": end.sample,
                "fate": end.fate.value,
                "reason": end.reason,
                "num_tokens": end.num_tokens,
            }
            for end in outcome.ends
        ],
        "events": [{"kind": kind, "sample": sample} for kind, sample in outcome.events],
        "rounds": outcome.rounds,
        **{name: getattr(outcome.ledger, name) for name, _ in LEDGER_FIELDS},
    }


def benchmark_of(problem_id: str) -> str:
    """The benchmark in a problem id, `benchmark/id`."""
    return problem_id.partition("/")[0]
