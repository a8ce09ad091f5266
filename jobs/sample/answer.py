"""`deepprune answer`: one problem, one vote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deepprune.errors import UserError
from deepprune.traces import Problem
from jobs.sample.answer_report import answer_json, answer_report
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


def answer(problem_text: str | None, file: Path | None, as_json: bool, options: RunOptions) -> None:
    """Answer the problem in `problem_text`, in `file`, or on stdin.

    Raises:
        UserError: the problem, the configuration or the cluster cannot work.
    """
    problem = Problem("command-line/0", _read_problem(problem_text, file))
    from actors.deploy.preflight import without_idle_judge

    config = without_idle_judge(configuration(options))

    run_dir = RunDir(run_folder(options, "answer"), config.model_dump(mode="json"))
    run_dir.check()
    interrupted = False
    solved = None
    with Display("answer", 1, num_traces=config.policy.num_traces) as display:
        try:
            with system_for(config, [problem], options.address, display) as system, run_dir:
                display.phase(f"{config.policy.name}, {config.policy.num_traces} traces")
                for solved in solve(system, [Task(problem, system.config.policy)], display):
                    write_solved(run_dir, solved, Origin.of(config))
                    display.finished(solved.outcome)
        except Interrupted:
            interrupted = True
    if solved is None:
        raise Interrupted
    if as_json:
        sys.stdout.write(json.dumps(answer_json(solved), indent=2) + "\n")
    else:
        answer_report(solved, num_traces=config.policy.num_traces)
    if interrupted:
        raise Interrupted(f"the vote so far is saved in {run_dir.path}")


def _read_problem(argument: str | None, file: Path | None) -> str:
    if file is not None and argument is not None:
        raise UserError("give the problem as the argument or in --file, not both")
    try:
        if file is not None:
            text = file.read_text(encoding="utf-8")
        elif argument is None or argument == "-":
            text = sys.stdin.read()
        else:
            text = argument
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the problem: {error}") from None
    if not text.strip():
        raise UserError("the problem is empty: give a question as the argument, --file or stdin")
    return text.strip()
