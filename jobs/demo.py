"""`deepprune demo`: the same problems by plain self-consistency and by the policy, live."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deepprune.config import ConsConfig
from jobs.cli import EXIT_INTERRUPTED
from jobs.display import Display
from jobs.run import Interrupted, Task, configuration, run_folder, solve, system_for
from jobs.tables import DemoRow, demo_report

if TYPE_CHECKING:
    from actors.coordinator import Solved

PROBLEM_SEED = 2026
"""Seed of the generated problems; the demo's split is disjoint from what the models trained on."""


def demo(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UserError: the configuration or the cluster cannot work.
    """
    from jobs.store import RunStore
    from miniature.problems import generate_problems

    config = configuration(options)
    problems = generate_problems(PROBLEM_SEED + config.seed, options.num_problems, split="demo")
    store = RunStore(run_folder(options, "demo"), config)
    baseline = ConsConfig(num_traces=config.policy.num_traces)
    solved: dict[str, dict[str, Solved]] = {}
    seconds: dict[str, float] = {}
    exit_code = 0
    with Display("demo", total=2 * len(problems)) as display:
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
    rows = [
        DemoRow(solved[baseline.name][key].outcome, result.outcome)
        for key, result in solved.get(config.policy.name, {}).items()
    ]
    if rows:
        demo_report(rows, seconds)
        _draw(rows, solved, store.folder)
    word = "interrupted: what there was is saved in" if exit_code else "saved in"
    sys.stderr.write(f"{word} {store.folder}\n")
    return exit_code


def _draw(rows: list[DemoRow], solved: dict[str, dict[str, Solved]], folder: Path) -> None:
    """Save the totals, and the problem whose saving is the median one as lanes."""
    from jobs.picture import draw_lanes, draw_totals

    draw_totals(rows, folder / "totals.png")
    ranked = sorted(
        rows, key=lambda r: r.pruned.ledger.generated_tokens / r.baseline.ledger.generated_tokens
    )
    typical = ranked[len(ranked) // 2]
    key = typical.pruned.problem.problem_id
    draw_lanes(
        solved[typical.baseline.policy][key],
        solved[typical.pruned.policy][key],
        folder / "lanes.png",
    )
