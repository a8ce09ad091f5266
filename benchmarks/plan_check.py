"""The planner against a real run: how far off are its hours and tokens?

Everything is measured in one go on this machine, with the miniature models. A calibration run gives
two constants, tokens a second of the generator at one batch size and of the judge, and recorded
traces. From those alone the planner predicts a sweep over other problems, which is then run.

    python -m benchmarks.plan_check [--calibrate 4] [--problems 12] [--traces 64]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import serve

from actors.channels.pool import ReplicaPool
from actors.deploy.app_names import judge_app_name
from actors.deploy.connection import connected
from actors.deploy.preflight import with_calibration
from actors.deploy.system import System, running
from actors.driver.serve_client import ServeJudges
from actors.messages import JudgeRequest
from cluster.configs import resolve_config
from deepprune.config import LimitsConfig, RunConfig, VllmGeneratorConfig, load_config
from deepprune.ledger import Ledger
from deepprune.plan_config import PlanConfig
from deepprune.policy_config import ConsConfig, PaperRules, PolicyConfig
from deepprune.speed import SpeedConfig
from deepprune.traces import Problem
from jobs.sweep.cost_estimator import Planner
from miniature.problems import generate_problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calibrate", type=int, default=4, help="problems of the calibration run")
    parser.add_argument("--problems", type=int, default=12, help="problems predicted, then run")
    parser.add_argument("--traces", type=int, default=64)
    options = parser.parse_args()
    problems = generate_problems(23, options.calibrate + options.problems, split="demo")
    known, new = problems[: options.calibrate], problems[options.calibrate :]
    config = with_calibration(
        load_config(
            resolve_config("laptop-pairwise"),
            {"policy.num_traces": options.traces, "limits.max_problems": options.calibrate},
        )
    )
    cons, pruned = ConsConfig(num_traces=options.traces), config.policy
    with connected(None), running(config, cluster_ends_too=True) as system:
        for policy in (cons, pruned):
            solve(system, known[:1], policy, seed=99)  # warm up
        wall_s, solved = solve(system, known, cons, seed=0)
        speed = calibrated(config, wall_s, solved)
        print(f"calibrated on {len(known)} problems: {speed}")
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder) / "traces.jsonl"
            record(solved, recording)
            planner = Planner(plan(config, speed, recording, len(new), pruned), config, Path())
            print("policy      seconds: predicted, run, error   tokens: predicted, run, error")
            for policy, (planned, judge) in zip((cons, pruned), planner.cells, strict=True):
                predicted = planner.predict(planned, judge, {"laptop": 1})
                wall_s, solved = solve(system, new, policy, seed=1)
                ledger = sum((s.outcome.ledger for s in solved), Ledger())
                said, tokens = 3600 * predicted.hours, predicted.generated_tokens
                print(
                    f"{policy.name:10} {said:8.1f} {wall_s:8.1f} {said / wall_s - 1:+8.0%}   "
                    f"{tokens:10,} {ledger.generated_tokens:10,} "
                    f"{tokens / ledger.generated_tokens - 1:+8.0%}",
                    flush=True,
                )


def solve(
    system: System, problems: Sequence[Problem], policy: PolicyConfig, seed: int
) -> tuple[float, list[Any]]:
    """Seconds to solve all problems, and what came of them."""
    started = time.monotonic()
    solved = ray.get([system.coordinator.solve(problem, policy, seed) for problem in problems])
    return time.monotonic() - started, solved


def calibrated(config: RunConfig, wall_s: float, solved: Sequence[Any]) -> SpeedConfig:
    """The two constants. On a CPU arithmetic decides, so a step costs so much for each trace."""
    assert isinstance(config.generator, VllmGeneratorConfig)
    engine = config.generator.engine
    tokens = sum(s.outcome.ledger.generated_tokens for s in solved)
    requests = [
        JudgeRequest(
            f"calibration/{place}/{sample}",
            s.outcome.problem.text,
            tuple(cut(s.traces[first]) for first in (0, 1)),
            cut(s.traces[sample]),
        )
        for place, s in enumerate(solved)
        for sample in range(2, len(s.traces))
    ]
    judge_app = judge_app_name(config)
    assert judge_app is not None
    asyncio.run(score(judge_app, requests[:4]))  # warm up
    judge_s, _ = asyncio.run(score(judge_app, requests[4:5]))
    judging_s, judged_tokens = asyncio.run(score(judge_app, requests[5:]))
    return SpeedConfig(
        streams=engine.slots,
        step_s=0,
        step_s_per_trace=wall_s / tokens,
        judge_s=judge_s,
        judge_tokens_per_s=judged_tokens / judging_s,
    )


def cut(trace: Any) -> str:
    """Roughly what a judge reads of a trace: a third of it."""
    return str(trace.text[: len(trace.text) // 3])


async def score(judge_app: str, requests: Sequence[JudgeRequest]) -> tuple[float, int]:
    """Seconds and computed tokens of calls to the judge, all at once."""
    judges = ServeJudges(ReplicaPool(serve.get_app_handle(judge_app), LimitsConfig().stall_s))
    started = time.monotonic()
    replies = await asyncio.gather(*(judges.score(request) for request in requests))
    return time.monotonic() - started, sum(reply.computed_tokens for reply in replies)


def record(solved: Sequence[Any], path: Path) -> None:
    """Write traces as a recording."""
    with path.open("w", encoding="utf-8") as file:
        for s in solved:
            problem = s.outcome.problem
            for sample, trace in s.traces.items():
                row = {
                    "problem_id": problem.problem_id,
                    "problem": problem.text,
                    "reference": problem.reference,
                    "sample": sample,
                    "text": trace.text,
                    "num_tokens": trace.num_tokens,
                    "answer": trace.answer,
                }
                file.write(json.dumps(row) + "\n")


def plan(
    config: RunConfig, speed: SpeedConfig, recording: Path, num_problems: int, pruned: PolicyConfig
) -> PlanConfig:
    """What the planner is told: nothing of the problems that it predicts."""
    assert config.judge is not None and isinstance(pruned, PaperRules)
    card = json.loads(Path("miniature/models/metrics.json").read_text())
    auroc = card["judge"]["auroc_within"]
    # The judge's own threshold means nothing to the one that the planner blurs to its AUROC.
    planned = pruned.model_copy(update={"tau": None})
    return PlanConfig(
        run="laptop-pairwise",
        mixes=({"laptop": 1},),
        recording=str(recording),
        num_problems=num_problems,
        prompt_tokens=0,
        policies=(ConsConfig(num_traces=pruned.num_traces), planned),
        judge=f"noisy:{auroc:.2f}",
        max_problems=config.limits.max_problems,
        speed=speed,
    )


if __name__ == "__main__":
    main()
