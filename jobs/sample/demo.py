"""`deepprune demo`: the same problems by plain self-consistency and by pruning, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from deepprune.errors import UserError
from deepprune.policy_config import (
    AdaptiveConfig,
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
    entries = _entries(config, alone=options.policy is not None)
    solved: dict[str, dict[str, Solved]] = {}
    seconds: dict[str, float] = {}
    interrupted = False
    num_traces = config.policy.num_traces
    with Display("demo", len(entries) * len(problems), num_traces=num_traces) as display:
        try:
            with system_for(config, problems, options.address, display) as system, run_dir:
                for label, policy, seed, _ in entries:
                    display.phase(f"{label}, {policy.num_traces} traces per problem")
                    done = solved.setdefault(label, {})
                    started = time.monotonic()
                    for result in solve(system, [Task(p, policy, seed) for p in problems], display):
                        seconds[label] = time.monotonic() - started
                        write_solved(run_dir, result, Origin.of(config))
                        if result.outcome.complete:
                            done[result.outcome.problem.problem_id] = result
                        display.finished(result.outcome)
        except Interrupted:
            interrupted = True
    compared = [entry for entry in entries if solved.get(entry.label)]
    finished = [set(solved[entry.label]) for entry in compared]
    common = set.intersection(*finished) if finished else set()
    if len(compared) > 1 and common:
        from jobs.report.command import write_report
        from jobs.sample.demo_report import PolicyRun, demo_report

        whole = [problem.problem_id for problem in problems if problem.problem_id in common]
        before, *after = (
            PolicyRun(
                [solved[entry.label][each].outcome for each in whole],
                seconds[entry.label],
                entry.label,
                entry.in_problems,
            )
            for entry in compared
        )
        demo_report(before, after, num_interrupted=len(problems) - len(whole))
        write_report([run_dir.path])
    if interrupted:
        raise Interrupted(f"what there was is saved in {run_dir.path}")
    sys.stderr.write(f"saved in {run_dir.path}\n")


class Entry(NamedTuple):
    """A policy of the demo, its seed, and whether the table of problems has columns for it."""

    label: str
    policy: PolicyConfig
    seed: int
    in_problems: bool = True


def _entries(config: RunConfig, *, alone: bool) -> list[Entry]:
    """Self-consistency and the configured policy; beside deepprune, what goes beyond it.

    Those that ask no judge of their own draw the traces of self-consistency. `deepprune+` draws
    others, or it would find deepprune's in a pairwise judge's prefix cache.
    """
    from actors.deploy.preflight import with_calibration

    policy, seed = config.policy, config.seed
    baseline = ConsConfig(num_traces=policy.num_traces)
    entries = [Entry("cons", baseline, seed), Entry(policy.name, policy, seed)]
    if alone or not isinstance(policy, DeepPruneConfig):
        return entries
    plus = PlusConfig(**renamed(policy, "deepprune+"))
    judged = with_calibration(config.model_copy(update={"policy": plus})).policy
    adaptive = AdaptiveConfig(name="adaptive", num_traces=policy.num_traces, wave="needed")
    return [
        *entries,
        Entry("deepprune+", judged, seed + 1),
        Entry("adaptive", adaptive, seed, in_problems=False),
        Entry(
            "deepprune+, no judge",
            plus.model_copy(update={"trust": 0.0}),
            seed + 1,
            in_problems=False,
        ),
    ]
