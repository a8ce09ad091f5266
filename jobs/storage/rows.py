"""Results as rows of the tables on disk (`deepprune/schemas.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepprune.cells import cell_key
from deepprune.config import Reads, RunConfig, VllmGeneratorConfig, confidence_window
from deepprune.grading import is_correct
from deepprune.ledger import Fate
from deepprune.policy_config import JudgingConfig, PaperRules, PolicyConfig
from deepprune.schemas import LEDGER_FIELDS, OUTCOMES, SCORES, TRACES
from deepprune.session import Outcome
from deepprune.traces import Problem
from jobs.storage.run_dir import RunDir, part_name

if TYPE_CHECKING:
    from actors.driver.coordinator import Solved
    from actors.driver.live_trace import LiveTrace


@dataclass(frozen=True, slots=True)
class Origin:
    """The models that live results come from."""

    model: str
    judge: str | None
    reads: Reads | None
    confidence_window: int | None

    @classmethod
    def of(cls, config: RunConfig) -> Origin:
        """Those of a run."""
        generator, window = config.generator, confidence_window(config.generator)
        model = (
            generator.engine.model
            if isinstance(generator, VllmGeneratorConfig)
            else generator.model
        )
        judge = config.judge
        if judge is None:
            return cls(model, None, None, window)
        return cls(model, judge.name, judge.reads, window)


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
    judge = judge if judging and judging.asks_judge else None
    return {
        "benchmark": benchmark_of(problem.problem_id),
        "problem_id": problem.problem_id,
        "reference": problem.reference,
        "model": model,
        "driver": driver,
        "policy": outcome.policy,
        "cell": cell_key(policy, judge, seed),
        "judge": judge,
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
        "sequential_tokens": outcome.sequential_tokens,
        **{name: getattr(outcome.ledger, name) for name, _ in LEDGER_FIELDS},
    }


def benchmark_of(problem_id: str) -> str:
    """The benchmark in a problem id, `benchmark/id`."""
    return problem_id.partition("/")[0]


def trace_row(
    problem: Problem, model: str, sample: int, *, fate: Fate, reason: str, **columns: Any
) -> dict[str, Any]:
    """One row of the traces table; those of its columns that are not given are null."""
    return {
        "benchmark": benchmark_of(problem.problem_id),
        "problem_id": problem.problem_id,
        "problem": problem.text,
        "reference": problem.reference,
        "model": model,
        "sample": sample,
        "fate": fate.value,
        "reason": reason,
        **columns,
    }


def sampled_columns(trace: LiveTrace, origin: Origin) -> dict[str, Any]:
    """The columns of a trace that was sampled live."""
    names = "seed text num_tokens prefix_chars prefix_tokens finish_reason closed_tokens answer"
    return {
        **{name: getattr(trace, name) for name in [*names.split(), "confidence"]},
        "token_ids": list(trace.token_ids),
        "confidence_window": origin.confidence_window,
    }


def write_solved(run: RunDir, solved: Solved, origin: Origin) -> None:
    """Write a problem solved live as a part of each table, the outcome last: it is never there
    without its traces.

    Raises:
        UserError: the disk is full, or fails; all parts written before are whole.
    """
    part = part_of(solved, origin)
    asks = isinstance(solved.policy, JudgingConfig) and solved.policy.asks_judge
    cell = cell_key(solved.policy, origin.judge if asks else None, solved.seed)
    run.write("traces", part, _trace_rows(solved, origin, cell), TRACES)
    if solved.scores:
        run.write("scores", part, _score_rows(solved, origin, cell), SCORES)
    row = outcome_row(
        solved.outcome,
        solved.policy,
        model=origin.model,
        driver="live",
        judge=origin.judge,
        seed=solved.seed,
    )
    run.write("outcomes", part, [row], OUTCOMES)


def part_of(solved: Solved, origin: Origin) -> str:
    """The name of the parts that hold a problem solved live."""
    return live_part(origin.model, solved.outcome.problem, solved.policy, solved.seed)


def live_part(model: str, problem: Problem, policy: PolicyConfig, seed: int) -> str:
    """The name of the parts that hold a problem solved live under a cell."""
    words = f"{problem.problem_id}-{policy.name}"
    return part_name(words, model, problem.problem_id, problem.text, policy, seed)


def _score_rows(solved: Solved, origin: Origin, cell: str) -> list[dict[str, Any]]:
    """One row for each pair that was judged."""
    assert isinstance(solved.policy, JudgingConfig)
    problem_id = solved.outcome.problem.problem_id
    return [
        {
            "benchmark": benchmark_of(problem_id),
            "problem_id": problem_id,
            "model": origin.model,
            "policy": solved.outcome.policy,
            "cell": cell,
            "judge": origin.judge,
            "reads": origin.reads,
            "checkpoint": solved.policy.checkpoint,
            "first": first,
            "second": second,
            "p_same": p_same,
        }
        for (first, second), p_same in solved.scores.items()
    ]


def _trace_rows(solved: Solved, origin: Origin, cell: str) -> list[dict[str, Any]]:
    """One row for each trace that was launched."""
    return [
        trace_row(
            solved.outcome.problem,
            origin.model,
            end.sample,
            fate=end.fate,
            reason=end.reason,
            policy=solved.outcome.policy,
            cell=cell,
            error=end.reason if end.fate is Fate.LOST else None,
            **sampled_columns(solved.traces[end.sample], origin) | {"num_tokens": end.num_tokens},
        )
        for end in solved.outcome.ends
    ]
