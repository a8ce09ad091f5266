"""Sweeps that sample live: every cell on the same engines, problem by problem."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from random import Random

from deepprune.config import RunConfig, load_config
from deepprune.loading import validated
from deepprune.policies import promise_of
from deepprune.policy_config import JudgingConfig, PlusConfig, PolicyConfig
from deepprune.promise import tally_of
from deepprune.sweep_config import SweepConfig
from deepprune.traces import Problem
from jobs.sample.display import Display
from jobs.sample.run import Task, solve, system_for
from jobs.storage.rows import Origin, benchmark_of, live_part, part_of, write_solved
from jobs.storage.run_dir import RunDir
from jobs.sweep.turns import Turns, learns, votes_in


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
    with RunDir(out, written) as run_dir:
        for run in runs:
            _solve(config, run, problems, run_dir, address)


def _solve(
    config: SweepConfig,
    run: RunConfig,
    problems: list[Problem],
    run_dir: RunDir,
    address: str | None,
) -> None:
    origin = Origin.of(run)
    policies = [_calibrated(run, policy) for policy in _policies(config, run)]
    benchmarks: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        benchmarks[benchmark_of(problem.problem_id)].append(problem)
    cells = [
        _turns(run, run_dir, of_benchmark, policy, seed)
        for of_benchmark in benchmarks.values()
        for policy in policies
        for seed in range(config.seeds)
    ]
    cell_of = {part: cell for cell in cells for part in cell.left}
    if not cell_of:
        return
    # Problem by problem, so that a sweep that is stopped has about as many of each cell.
    begin = zip_longest(*(cell.ready() for cell in cells))
    to_come = deque(task for tasks in begin for task in tasks if task is not None)
    most = max(policy.num_traces for policy in policies)
    total = len(policies) * config.seeds * len(problems)
    with (
        Display(f"sweep {origin.model}", len(cell_of), num_traces=most) as display,
        system_for(run, problems, address, display) as system,
    ):
        display.phase(f"{len(cell_of)} of {total} outcomes to come")
        for solved in solve(system, to_come, display):
            display.finished(solved.outcome)
            if solved.outcome.complete:
                write_solved(run_dir, solved, origin)
                if learns(solved.policy):
                    part = part_of(solved, origin)
                    votes = tally_of(solved.outcome, solved.policy.num_traces)
                    to_come.extend(cell_of[part].ready_after(part, votes))


def _turns(
    run: RunConfig, run_dir: RunDir, problems: Sequence[Problem], policy: PolicyConfig, seed: int
) -> Turns:
    """The problems of a cell on one benchmark, with the votes of those that are on disk."""
    model = Origin.of(run).model
    promise = None
    if learns(policy):
        promise, problems = promise_of(policy), Random(seed).sample(problems, len(problems))
    tasks = {
        live_part(model, problem, policy, seed): Task(problem, policy, seed) for problem in problems
    }
    answered = {
        part: None if promise is None else votes_in(run_dir.read("outcomes", part)[0])
        for part in tasks
        if run_dir.has("outcomes", part)
    }
    return Turns(tasks, answered, promise, lag=run.limits.max_problems)


def _policies(config: SweepConfig, run: RunConfig) -> list[PolicyConfig]:
    """The policies of all cells; without controls of a judge where the run has none."""
    policies = [cell.policy for cell in config.cells()]
    if run.judge is not None:
        return policies
    controls = {
        p.model_copy(update={"trust": 0.0})
        for p in policies
        if isinstance(p, PlusConfig) and p.asks_judge
    }
    return [policy for policy in policies if policy not in controls]


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
    judging = next((p for p in policies if isinstance(p, JudgingConfig) and p.asks_judge), None)
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
