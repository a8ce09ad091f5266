"""Sweeps that sample live: every cell on the same engines, problem by problem."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from deepprune.config import RunConfig, load_config
from deepprune.loading import validated
from deepprune.policy_config import JudgingConfig, PolicyConfig
from deepprune.schemas import OUTCOMES, SCORES, TRACES
from deepprune.sweep_config import SweepConfig
from deepprune.traces import Problem
from jobs.sample.display import Display
from jobs.sample.run import Task, solve, system_for
from jobs.storage.rows import Origin, live_outcome_row, score_rows, trace_rows
from jobs.storage.run_dir import ResultFolder


def live_sweep(config: SweepConfig, base: Path, out: Path, address: str | None) -> None:
    """Solve every problem under every cell and seed, into the folder `out`.

    Run again, it solves what is missing. What was interrupted before its vote is solved anew.

    Raises:
        UserError: a run, a benchmark, the folder or the cluster cannot work.
        Interrupted: the user stopped the sweep.
    """
    runs = [_run(name, base, config) for name in config.runs]
    problems = list(_problems(config, base))
    written = config.model_dump(mode="json") | {
        "run_configurations": [run.model_dump(mode="json") for run in runs]
    }
    with ResultFolder(out, written) as folder:
        for run in runs:
            _solve(config, run, problems, folder, address)


def _solve(
    config: SweepConfig,
    run: RunConfig,
    problems: list[Problem],
    folder: ResultFolder,
    address: str | None,
) -> None:
    origin = Origin.of(run)
    tasks = {
        _part(origin.model, task): task
        for problem in problems
        for cell in config.cells()
        for seed in range(config.seeds)
        for task in [Task(problem, _calibrated(run, cell.policy), seed)]
    }
    left = [task for part, task in tasks.items() if not folder.has("outcomes", part)]
    if not left:
        return
    most = max(task.policy.num_traces for task in left)
    with (
        Display(f"sweep {origin.model}", len(left), num_traces=most) as display,
        system_for(run, problems, address, display) as system,
    ):
        display.phase(f"{len(left)} of {len(tasks)} outcomes to come")
        for solved in solve(system, left, display):
            display.finished(solved.outcome)
            if not solved.outcome.complete:
                continue
            part = _part(origin.model, Task(solved.outcome.problem, solved.policy, solved.seed))
            folder.write("traces", part, trace_rows(solved, origin), TRACES)
            if solved.scores:
                folder.write("scores", part, score_rows(solved, origin), SCORES)
            folder.write("outcomes", part, [live_outcome_row(solved, origin)], OUTCOMES)


def _part(model: str, task: Task) -> str:
    key = (model, task.problem.problem_id, task.problem.text, task.policy, task.seed)
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{task.problem.problem_id}-{task.policy.name}")
    digest = hashlib.blake2b(repr(key).encode(), digest_size=6).hexdigest()
    return f"{readable.strip('-.')[:80]}-{digest}"


def _run(name: str, base: Path, config: SweepConfig) -> RunConfig:
    """A run's configuration with a policy of the sweep: what it needs decides what is started.

    Raises:
        UserError: it does not validate, or cannot run one of the sweep's policies.
    """
    from cluster.configs import resolve_config

    path = base / name if (base / name).is_file() else resolve_config(name)
    run = load_config(path)
    policies = [cell.policy for cell in config.cells()]
    for policy in policies:
        validated(RunConfig, run.model_dump() | {"policy": policy.model_dump()}, str(path))
    judging = next((p for p in policies if isinstance(p, JudgingConfig)), None)
    update = {"policy": judging or policies[0]} | ({} if judging else {"judge": None})
    return run.model_copy(update=update)


def _calibrated(run: RunConfig, policy: PolicyConfig) -> PolicyConfig:
    from actors.deploy.preflight import with_calibration

    return with_calibration(run.model_copy(update={"policy": policy})).policy


def _problems(config: SweepConfig, base: Path) -> Iterator[Problem]:
    from jobs.storage.benchmarks import load_benchmark

    for name in config.benchmarks:
        source = str(base / name) if (base / name).is_file() else name
        yield from load_benchmark(source, config.chosen).problems
