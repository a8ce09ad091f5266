"""`deepprune sweep`: every policy under every setting over the same problems, resumably.

Also what `ray job submit -- python -m jobs sweep CONFIG --out FOLDER` runs.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepprune.errors import UserError
from deepprune.loading import find
from deepprune.schemas import OUTCOMES
from deepprune.sweep_config import Cell, SweepConfig, load_sweep
from jobs.render.progress import Progress
from jobs.storage.run_dir import RunDir

if TYPE_CHECKING:
    from deepprune.recordings import Recording

logger = logging.getLogger(__name__)

SWEEPS = Path(__file__).parents[1] / "configs" / "sweeps"


def sweep(
    config_name: str, overrides: dict[str, Any], out: Path | None, address: str | None
) -> None:
    """Run the cells of a sweep that the folder lacks.

    Raises:
        UserError: the sweep, its recordings, its folder or the cluster cannot work.
    """
    path = find(config_name, list(SWEEPS.glob("*.yaml")), "sweep")
    config = load_sweep(path, overrides)
    out = out or Path("runs") / f"sweep-{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    if config.runs:
        from jobs.sample.run import Interrupted
        from jobs.sweep.live import live_sweep

        try:
            live_sweep(config, path.parent, out, address)
        except Interrupted:
            raise Interrupted(f"run it again with --out {out} to go on") from None
    else:
        replay_sweep(config, path.parent, out, address)
    sys.stderr.write(f"saved in {out}; look at it with: deepprune report {out}\n")


def replay_sweep(config: SweepConfig, base: Path, out: Path, address: str | None) -> None:
    """Replay recordings, whose paths are relative to `base`, into the folder `out`.

    Raises:
        UserError: the recordings, the folder or the cluster cannot work.
    """
    recordings = _recordings(config, base)
    cells = config.cells()
    _check_sizes(recordings, cells)
    sources = [str(_resolved(source, base)) for source in config.recordings]
    written = config.model_dump(mode="json") | {"recordings": sources}
    with RunDir(out, written) as folder:
        todo = {
            place: missing
            for place, recording in enumerate(recordings)
            if (missing := [c for c in cells if not folder.has("outcomes", part(recording, c))])
        }
        total = len(recordings) * len(cells)
        left = sum(map(len, todo.values()))
        if not todo:
            return
        from actors.deploy.connection import connected, running_cluster

        with (
            connected(running_cluster(address)),
            Progress("replaying", total, total - left) as progress,
        ):
            for place, cell, rows in _replayed(config, base, recordings, todo, progress):
                folder.write("outcomes", part(recordings[place], cell), rows, OUTCOMES)
                progress.step()


def part(recording: Recording, cell: Cell) -> str:
    """The name of the part that holds a cell's outcomes of one problem, all seeds together."""
    key = (recording.problem.problem_id, recording.model, recording.problem.text)
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", key[0]).strip("-.")[:60]
    digest = hashlib.blake2b(repr(key).encode(), digest_size=5).hexdigest()
    return f"{readable}-{digest}-{cell.key}"


def _replayed(
    config: SweepConfig,
    base: Path,
    recordings: Sequence[Recording],
    todo: dict[int, list[Cell]],
    progress: Progress,
) -> Iterator[tuple[int, Cell, list[dict[str, Any]]]]:
    """Outcome rows as they come in, from as many problems at a time as there are CPUs."""
    import ray
    from ray.exceptions import RayTaskError

    from jobs.sweep.replay_judges import load_scores
    from jobs.sweep.replay_tasks import bench_of, judgings, prepared, replay_problem

    replay = ray.remote(num_returns="streaming")(replay_problem)
    try:
        progress.phase("grouping answers")
        materials = prepared(recordings, config)
        scores = load_scores([_resolved(path, base) for path in config.scores])
        benches = list(
            dict.fromkeys(b for cells in todo.values() for cell in cells if (b := bench_of(cell)))
        )
        judged = []
        for bench in benches:
            progress.phase(f"scoring pairs, {bench[0]} at {bench[1]}")
            judged.append(judgings(bench, materials, scores, config))
        waiting = iter(todo.items())
        running: dict[Any, tuple[int, Iterator[Cell]]] = {}
        slots = int(ray.cluster_resources().get("CPU", 1)) + 1
        while True:
            while len(running) < slots and (following := next(waiting, None)):
                place, cells = following
                found = [bench_of(cell) for cell in cells]
                places = [None if bench is None else benches.index(bench) for bench in found]
                stream = replay.remote(
                    materials[place],
                    list(zip(cells, places, strict=True)),
                    config.seeds,
                    config.speed,
                    *(of_bench[place] for of_bench in judged),
                )
                running[stream] = (place, iter(cells))
            if not running:
                return
            ready, _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            for stream in ready:
                place, cells_left = running[stream]
                reference = next(stream, None)
                if reference is None:
                    del running[stream]
                else:
                    yield place, next(cells_left), ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def _recordings(config: SweepConfig, base: Path) -> list[Recording]:
    from deepprune.recordings import load_recordings

    found: list[Recording] = []
    for source in config.recordings:
        found += load_recordings(
            _resolved(source, base),
            kind=config.answer_kind,
            truncated=config.truncated_answers,
            chars_per_token=config.chars_per_token,
        )
    keys = [(recording.problem.problem_id, recording.model) for recording in found]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UserError(f"{twice[0]} by {twice[1] or 'no model'} is in two of the recordings")
    chosen = found[config.chosen]
    if not chosen:
        raise UserError(f"problems {config.problems} leaves none of {len(found)}")
    return chosen


def _check_sizes(recordings: Sequence[Recording], cells: Sequence[Cell]) -> None:
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
