"""`deepprune demo`: the same problems by plain self-consistency and by pruning, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from deepprune.errors import UserError
from deepprune.policy_config import (
    ConsConfig,
    DeepPruneConfig,
    PlusConfig,
    PolicyConfig,
    renamed,
)
from jobs.sample.display import Display
from jobs.sample.run import (
    Interrupted,
    RunOptions,
    Task,
    configuration,
    run_folder,
    solve,
    system_for,
)
from jobs.storage.rows import Origin, write_solved
from jobs.storage.run_dir import RunDir

if TYPE_CHECKING:
    from actors.driver.coordinator import Solved
    from deepprune.config import RunConfig

PROBLEM_SEED = 2026
"""Seed of the generated problems; the demo's split is disjoint from what the models trained on."""

DIFFICULTY = range(2)
"""Of the miniature's three. With these two, four in five pairs of traces share their answer, as in
the paper's data (Table 4); the third, left out, is half undecided."""


def demo(num_problems: int, options: RunOptions) -> None:
    """Answer `num_problems` generated problems with cons and with pruning, and compare.

    Raises:
        UserError: the configuration or the cluster cannot work.
    """
    from miniature.problems import generate_problems

    config = configuration(options)
    if config.policy.name == "cons":
        raise UserError("demo compares a policy with cons: choose another with --policy")
    problems = generate_problems(PROBLEM_SEED + config.seed, num_problems, DIFFICULTY, split="demo")
    run_dir = RunDir(run_folder(options, "demo"), config.model_dump(mode="json"))
    run_dir.check()
    baseline = ConsConfig(num_traces=config.policy.num_traces)
    policies = [config.policy] if options.policy else [config.policy, *_beyond(config)]
    solved: dict[str, dict[str, Solved]] = {}
    seconds: dict[str, float] = {}
    interrupted = False
    num_runs = (1 + len(policies)) * len(problems)
    with Display("demo", num_runs, num_traces=baseline.num_traces) as display:
        try:
            with system_for(config, problems, options.address, display) as system, run_dir:
                for number, policy in enumerate((baseline, *policies)):
                    display.phase(f"{policy.name}, {policy.num_traces} traces per problem")
                    done = solved.setdefault(policy.name, {})
                    # Self-consistency and the first policy draw the same traces. The next one draws
                    # others, or it would find the first one's in a pairwise judge's prefix cache.
                    seed = config.seed + max(0, number - 1)
                    started = time.monotonic()
                    for result in solve(system, [Task(p, policy, seed) for p in problems], display):
                        seconds[policy.name] = time.monotonic() - started
                        write_solved(run_dir, result, Origin.of(config))
                        if result.outcome.complete:
                            done[result.outcome.problem.problem_id] = result
                        display.finished(result.outcome)
        except Interrupted:
            interrupted = True
    compared = {name: done for name, done in solved.items() if done}
    common = set.intersection(*(set(done) for done in compared.values())) if compared else set()
    if len(compared) > 1 and common:
        from jobs.report.command import write_report
        from jobs.sample.demo_report import PolicyRun, demo_report

        whole = [problem.problem_id for problem in problems if problem.problem_id in common]
        before, *after = (
            PolicyRun([done[each].outcome for each in whole], seconds[name])
            for name, done in compared.items()
        )
        demo_report(before, after, num_interrupted=len(problems) - len(whole))
        write_report([run_dir.path])
    if interrupted:
        raise Interrupted(f"what there was is saved in {run_dir.path}")
    sys.stderr.write(f"saved in {run_dir.path}\n")


def _beyond(config: RunConfig) -> list[PolicyConfig]:
    """`deepprune+` beside deepprune, with the settings that both have."""
    from actors.deploy.preflight import with_calibration

    if not isinstance(config.policy, DeepPruneConfig):
        return []
    plus = PlusConfig(**renamed(config.policy, "deepprune+"))
    return [with_calibration(config.model_copy(update={"policy": plus})).policy]
