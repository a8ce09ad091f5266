"""Sweeps that replay recordings: a task replays a problem under its cells.

A cell that learns from the problems already answered is a task of its own, for all problems of a
model and benchmark: each seed takes them in an order of its own.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from deepprune.errors import UserError
from deepprune.judges import Judging
from deepprune.policies import promise_of
from deepprune.policy_config import PlusConfig
from deepprune.promise import Terms, tally_of
from deepprune.recordings import Recording, load_recordings
from deepprune.replay_dataset import ReplayDataset
from deepprune.schemas import OUTCOMES
from deepprune.session import Outcome
from deepprune.speed import SpeedConfig
from deepprune.sweep_config import SweepCell, SweepConfig
from jobs.render.progress import Progress
from jobs.storage.rows import outcome_row
from jobs.storage.run_dir import RunDir, part_name
from jobs.sweep.recorded_scores import load_scores
from jobs.sweep.replay_judges import JudgeSpec, informed, judge_all, noisy_scores
from jobs.sweep.workers import Workers, workers_at

Rows = list[dict[str, Any]]


class JudgedCell(NamedTuple):
    """A cell to replay, its judging (None: nothing is judged), and the part for its outcomes."""

    part: str
    cell: SweepCell
    judging: Judging | None


class ProblemTask(NamedTuple):
    """A problem, and the cells to replay it under, one by one."""

    dataset: ReplayDataset
    cells: Sequence[JudgedCell]


class LearningTask(NamedTuple):
    """A cell that learns, and the problems to replay in turn with their judging.

    With each goes the part for its outcomes, where they are wanted.
    """

    cell: SweepCell
    problems: Sequence[tuple[ReplayDataset, Judging | None, str | None]]


Task = ProblemTask | LearningTask


def replay_sweep(config: SweepConfig, base: Path, out: Path, address: str | None) -> None:
    """Replay recordings, whose paths are relative to `base`, into the folder `out`.

    Raises:
        UserError: the recordings, the folder or the cluster cannot work.
    """
    recordings = _recordings(config, base)
    cells = config.cells()
    _check_sizes(recordings, cells)
    sources = [str(_resolved(source, base)) for source in config.recordings]
    with RunDir(out, config.model_dump(mode="json") | {"recordings": sources}) as run_dir:
        missing = [
            [cell for cell in cells if not run_dir.has("outcomes", _part(recording, cell))]
            for recording in recordings
        ]
        total, left = len(recordings) * len(cells), sum(map(len, missing))
        if not left:
            return
        with (
            workers_at(address) as workers,
            Progress("replaying", total, total - left) as progress,
        ):
            tasks = _tasks(config, base, recordings, missing, workers, progress)
            replay = partial(replay_task, seeds=config.seeds, speed=config.speed)
            for _, parts in workers.run(replay, tasks):
                for part, rows in parts:
                    run_dir.write("outcomes", part, rows, OUTCOMES)
                    progress.step()


def replay_task(task: Task, seeds: int, speed: SpeedConfig) -> list[tuple[str, Rows]]:
    """Replay a task; return the name of each part and a row for each seed."""
    if isinstance(task, LearningTask):
        return _replay_in_turn(task, seeds, speed)
    dataset = task.dataset
    return [
        (
            part,
            [
                _row(_replay(dataset, cell, judging, seed, speed), cell, dataset, seed)
                for seed in range(seeds)
            ],
        )
        for part, cell, judging in task.cells
    ]


def _replay_in_turn(task: LearningTask, seeds: int, speed: SpeedConfig) -> list[tuple[str, Rows]]:
    """Replay problems one after another, each on the terms that those before it leave."""
    cell, policy = task.cell, task.cell.policy
    assert isinstance(policy, PlusConfig)
    rows: dict[str, Rows] = {part: [] for _, _, part in task.problems if part is not None}
    for seed in range(seeds):
        promise = promise_of(policy)
        for dataset, judging, part in random.Random(seed).sample(task.problems, len(task.problems)):
            outcome = _replay(dataset, cell, judging, seed, speed, promise.terms)
            if (p_wrong := outcome.decision.p_wrong) is not None:
                promise.take(p_wrong)
            else:
                promise.count(tally_of(outcome, policy.num_traces))
            if part is not None:
                rows[part].append(_row(outcome, cell, dataset, seed))
    return list(rows.items())


def _replay(
    dataset: ReplayDataset,
    cell: SweepCell,
    judging: Judging | None,
    seed: int,
    speed: SpeedConfig,
    terms: Terms | None = None,
) -> Outcome:
    policy, scored = cell.policy, None
    if judging is not None:
        assert cell.judge is not None
        policy = informed(policy, cell.judge, judging.calibration)
        scored = judging.scored
        if scored is None:
            scored = noisy_scores(cell.judge, dataset, judging.calibration, seed)
    return dataset.replay(policy, judge=scored, speed=speed, seed=seed, terms=terms)


def _row(outcome: Outcome, cell: SweepCell, dataset: ReplayDataset, seed: int) -> dict[str, Any]:
    return outcome_row(
        outcome, cell.policy, model=dataset.model, driver="replay", judge=cell.judge, seed=seed
    )


def _tasks(
    config: SweepConfig,
    base: Path,
    recordings: Sequence[Recording],
    missing: Sequence[Sequence[SweepCell]],
    workers: Workers,
    progress: Progress,
) -> list[Task]:
    """What lacks outcomes, once all judges have scored all problems.

    Raises:
        UserError: a judge cannot score a problem.
    """
    progress.phase("grouping answers")
    datasets = [ReplayDataset(recording, config.chars_per_token) for recording in recordings]
    scores = load_scores([_resolved(path, base) for path in config.scores])
    keys = [(recording.problem.problem_id, recording.model) for recording in recordings]
    judged: dict[JudgeSpec | None, Sequence[Judging | None]] = {None: [None] * len(recordings)}
    asking = dict.fromkeys(JudgeSpec.of(cell) for cells in missing for cell in cells)
    for spec in asking:
        if spec is not None:
            progress.phase(f"scoring pairs, {spec.name} at {spec.checkpoint}")
            recorded = [scores.get((*key, str(spec.checkpoint))) for key in keys]
            if spec.name == "recorded" and not any(recorded):
                raise UserError(f"scores: none are of these problems at {spec.checkpoint}")
            found = spec.resolved(base)
            judged[spec] = judge_all(
                found, datasets, recorded, workers, calibrated=config.calibrate
            )
    parts = [
        {cell: _part(recording, cell) for cell in cells}
        for recording, cells in zip(recordings, missing, strict=True)
    ]
    return [*_learning_tasks(datasets, parts, judged), *_problem_tasks(datasets, parts, judged)]


def _problem_tasks(
    datasets: Sequence[ReplayDataset],
    parts: Sequence[dict[SweepCell, str]],
    judged: Mapping[JudgeSpec | None, Sequence[Judging | None]],
) -> Iterator[Task]:
    for i, dataset in enumerate(datasets):
        cells = [
            JudgedCell(part, cell, judged[JudgeSpec.of(cell)][i])
            for cell, part in parts[i].items()
            if not _learns(cell)
        ]
        if cells:
            yield ProblemTask(dataset, cells)


def _learning_tasks(
    datasets: Sequence[ReplayDataset],
    parts: Sequence[dict[SweepCell, str]],
    judged: Mapping[JudgeSpec | None, Sequence[Judging | None]],
) -> Iterator[Task]:
    """A task for each cell that learns, and for each model and benchmark that lacks outcomes."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, dataset in enumerate(datasets):
        groups[dataset.model, dataset.problem.problem_id.partition("/")[0]].append(i)
    for cell in dict.fromkeys(cell for cells in parts for cell in cells if _learns(cell)):
        spec = JudgeSpec.of(cell)
        lean = [dataset.without_texts(spec and spec.checkpoint) for dataset in datasets]
        judgings = judged[spec]
        for places in groups.values():
            problems = [(lean[i], judgings[i], parts[i].get(cell)) for i in places]
            if any(part is not None for _, _, part in problems):
                yield LearningTask(cell, problems)


def _learns(cell: SweepCell) -> bool:
    """Whether a cell keeps an account, for which its problems are replayed in turn."""
    return isinstance(cell.policy, PlusConfig) and cell.policy.learns


def _part(recording: Recording, cell: SweepCell) -> str:
    """The name of the part that holds a cell's outcomes of one problem, all seeds together."""
    problem = recording.problem
    key = (problem.problem_id, recording.model, problem.text)
    return f"{part_name(problem.problem_id, *key, digest_size=5)}-{cell.key}"


def _recordings(config: SweepConfig, base: Path) -> list[Recording]:
    found: list[Recording] = []
    for source in config.recordings:
        found += load_recordings(
            _resolved(source, base),
            kind=config.answer_kind,
            truncated=config.truncated_answers,
            chars_per_token=config.chars_per_token,
            answers=config.answers,
        )
    keys = [(recording.problem.problem_id, recording.model) for recording in found]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UserError(f"{twice[0]} by {twice[1] or 'no model'} is in two of the recordings")
    chosen = found[config.chosen]
    if not chosen:
        raise UserError(f"problems {config.problems} leaves none of {len(found)}")
    return chosen


def _check_sizes(recordings: Sequence[Recording], cells: Sequence[SweepCell]) -> None:
    """Refuse at once what would fail after minutes.

    Raises:
        UserError: a problem has fewer traces than a cell asks for.
    """
    most = max(cell.policy.num_traces for cell in cells)
    short = [r for r in recordings if len(r.traces) < most]
    if short:
        fewest = min(short, key=lambda recording: len(recording.traces))
        raise UserError(
            f"num_traces {most} is more than are recorded: {fewest.problem.problem_id} has "
            f"{len(fewest.traces)} finished traces ({len(short)} of {len(recordings)} problems "
            "have too few); lower num_traces, or choose others with `problems`"
        )


def _resolved(source: str, base: Path) -> Path:
    """A path as given, or else beside the sweep's file."""
    path = Path(source).expanduser()
    return path.absolute() if path.exists() or path.is_absolute() else (base / path).absolute()
