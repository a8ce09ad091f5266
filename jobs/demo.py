"""`deepprune demo`: the same problems by plain self-consistency and by the policy, live."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from deepprune.errors import UserError
from deepprune.policy_config import ConsConfig
from jobs.cli import EXIT_INTERRUPTED
from jobs.display import Display
from jobs.run import Interrupted, Task, configuration, run_folder, solve, system_for
from jobs.tables import DemoRow, demo_report

if TYPE_CHECKING:
    from actors.coordinator import Solved

PROBLEM_SEED = 2026
"""Seed of the generated problems; the demo's split is disjoint from what the models trained on."""

DIFFICULTY = range(2)
"""Of the miniature's three. With these two, four in five pairs of traces share their answer, as in
the paper's data (Table 4); the third, left out, is half undecided."""


def demo(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: the configuration or the cluster cannot work.
    """
    from jobs.store import RunStore
    from miniature.problems import generate_problems

    config = configuration(options)
    if config.policy.name == "cons":
        raise UserError("demo compares a policy with cons: choose another with --policy")
    problems = generate_problems(
        PROBLEM_SEED + config.seed, options.num_problems, DIFFICULTY, split="demo"
    )
    store = RunStore(run_folder(options, "demo"), config)
    baseline = ConsConfig(num_traces=config.policy.num_traces)
    solved: dict[str, dict[str, Solved]] = {}
    seconds: dict[str, float] = {}
    exit_code = 0
    with Display("demo", 2 * len(problems), num_traces=baseline.num_traces) as display:
        try:
            with system_for(config, problems, options.address, display) as system:
                for policy in (baseline, system.config.policy):
                    display.phase(f"{policy.name}, {policy.num_traces} traces per problem")
                    done = solved.setdefault(policy.name, {})
                    started = time.monotonic()
                    for result in solve(system, [Task(p, policy) for p in problems], display):
                        seconds[policy.name] = time.monotonic() - started
                        store.write(result)
                        done[result.outcome.problem.problem_id] = result
                        display.finished(result.outcome)
        except Interrupted:
            exit_code = EXIT_INTERRUPTED
    cons, pruned = solved.get(baseline.name, {}), solved.get(config.policy.name, {})
    rows = [
        DemoRow(cons[problem.problem_id].outcome, pruned[problem.problem_id].outcome)
        for problem in problems
        if problem.problem_id in cons and problem.problem_id in pruned
    ]
    if rows:
        from jobs.picture import save_pictures

        demo_report(rows, seconds)
        save_pictures(store.folder, cons, pruned)
    word = "interrupted: what there was is saved in" if exit_code else "saved in"
    sys.stderr.write(f"{word} {store.folder}\n")
    return exit_code
