"""Sweeps that replay recordings: one Ray task replays a problem under all of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayTaskError

from deepprune.errors import UserError
from deepprune.judges import Judging
from deepprune.recordings import Recording, load_recordings
from deepprune.replay_dataset import ReplayDataset
from deepprune.schemas import OUTCOMES
from deepprune.speed import SpeedConfig
from deepprune.sweep_config import SweepCell, SweepConfig
from jobs.render.progress import Progress
from jobs.storage.rows import outcome_row
from jobs.storage.run_dir import RunDir, part_name
from jobs.sweep.recorded_scores import load_scores
from jobs.sweep.replay_judges import (
    JudgeSpec,
    informed,
    judge_all,
    noisy_scores,
)

Rows = list[dict[str, Any]]


class JudgedCell(NamedTuple):
    """A cell to replay, its judging (None: nothing is judged), and the part for its outcomes."""

    part: str
    cell: SweepCell
    judging: ray.ObjectRef[Judging] | None


class ReplayTask(NamedTuple):
    """A problem, and the cells to replay it under."""

    dataset: ray.ObjectRef[ReplayDataset]
    cells: Sequence[JudgedCell]


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
        from actors.deploy.connection import connected, running_cluster

        with (
            connected(running_cluster(address)),
            Progress("replaying", total, total - left) as progress,
        ):
            tasks = _tasks(config, base, recordings, missing, progress)
            for part, rows in _run(tasks, config):
                run_dir.write("outcomes", part, rows, OUTCOMES)
                progress.step()


def replay_problem(
    dataset: ReplayDataset, cells: Sequence[JudgedCell], seeds: int, speed: SpeedConfig
) -> Iterator[tuple[str, Rows]]:
    """Replay a problem under each cell in turn; yield a part's name and a row for each seed."""
    for part, cell, reference in cells:
        judging = None if reference is None else ray.get(reference)
        yield part, [_replay(dataset, cell, judging, seed, speed) for seed in range(seeds)]


def _replay(
    dataset: ReplayDataset, cell: SweepCell, judging: Judging | None, seed: int, speed: SpeedConfig
) -> dict[str, Any]:
    policy, scored = cell.policy, None
    if judging is not None:
        assert cell.judge is not None
        policy = informed(policy, cell.judge, judging.calibration)
        scored = judging.scored
        if scored is None:
            scored = noisy_scores(cell.judge, dataset, judging.calibration, seed)
    outcome = dataset.replay(policy, judge=scored, speed=speed, seed=seed)
    return outcome_row(
        outcome, cell.policy, model=dataset.model, driver="replay", judge=cell.judge, seed=seed
    )


def _tasks(
    config: SweepConfig,
    base: Path,
    recordings: Sequence[Recording],
    missing: Sequence[Sequence[SweepCell]],
    progress: Progress,
) -> list[ReplayTask]:
    """A task for each problem that lacks cells, once all judges have scored all problems.

    Raises:
        UserError: a judge cannot score a problem.
    """
    progress.phase("grouping answers")
    prepare = ray.remote(_prepare)
    datasets = [prepare.remote(recording, config.chars_per_token) for recording in recordings]
    scores = load_scores([_resolved(path, base) for path in config.scores])
    keys = [(recording.problem.problem_id, recording.model) for recording in recordings]
    judged: dict[JudgeSpec | None, Sequence[ray.ObjectRef[Judging] | None]] = {
        None: [None] * len(recordings)
    }
    for spec in dict.fromkeys(JudgeSpec.of(cell) for cells in missing for cell in cells):
        if spec is not None:
            progress.phase(f"scoring pairs, {spec.name} at {spec.checkpoint}")
            recorded = [scores.get((*key, str(spec.checkpoint))) for key in keys]
            if spec.name == "recorded" and not any(recorded):
                raise UserError(f"scores: none are of these problems at {spec.checkpoint}")
            found = spec.resolved(base)
            judged[spec] = judge_all(found, datasets, recorded, calibrated=config.calibrate)
    return [
        ReplayTask(
            datasets[i],
            [JudgedCell(_part(recording, c), c, judged[JudgeSpec.of(c)][i]) for c in missing[i]],
        )
        for i, recording in enumerate(recordings)
        if missing[i]
    ]


def _prepare(recording: Recording, chars_per_token: float) -> ReplayDataset:
    return ReplayDataset(recording, chars_per_token)


def _run(tasks: Iterable[ReplayTask], config: SweepConfig) -> Iterator[tuple[str, Rows]]:
    """Run as many tasks at a time as there are CPUs; yield parts as they come."""
    replay = ray.remote(num_returns="streaming")(replay_problem)
    waiting = iter(tasks)
    running: list[Any] = []
    slots = int(ray.cluster_resources().get("CPU", 1)) + 1
    try:
        while True:
            while len(running) < slots and (task := next(waiting, None)) is not None:
                stream = replay.remote(task.dataset, task.cells, config.seeds, config.speed)
                running.append(stream)
            if not running:
                return
            ready, _ = ray.wait(running, num_returns=1, fetch_local=False)
            for stream in ready:
                reference = next(stream, None)
                if reference is None:
                    running.remove(stream)
                else:
                    yield ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


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
