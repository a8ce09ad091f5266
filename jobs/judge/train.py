"""`deepprune train`: pairs become a judge.

Also what `ray job submit -- python -m jobs train PAIRS --config NAME --out FOLDER` runs.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from deepprune.errors import UserError
from jobs.render.progress import Progress
from jobs.storage.run_dir import RunDir
from training.config import TrainConfig, load

JUDGE = "judge"
NOT_OF_THE_JUDGE: dict[str, Any] = {
    "checkpoint_every": True,
    "workers": {"max_failures", "accelerator"},
}
"""Settings that may change between two runs of one training."""
STORAGE = (
    "give --storage a URI that they all reach, such as gs://BUCKET/FOLDER or s3://BUCKET/FOLDER, "
    "or a folder on a disk that they share"
)


def train(
    pairs: Path,
    config_name: str,
    out: Path,
    overrides: dict[str, Any],
    *,
    checkpoint: str | None = None,
    storage: str | None = None,
    address: str | None = None,
) -> None:
    """Train a judge on `pairs` and save it in `out`/judge.

    Raises:
        UserError: the configuration, the pairs, the folder or the cluster cannot work, or training
            cannot go on; the last good checkpoint is kept.
    """
    config = load(TrainConfig, config_name, overrides)
    judge = out / JUDGE
    from training.learners.run import absolute, checked_pairs

    chosen, num_steps = checked_pairs(config, pairs, checkpoint)
    with RunDir(out, _recorded(config, pairs, chosen)):
        if not judge.exists():
            storage = absolute(storage or str(out / "checkpoints"))
            _train(config, pairs, chosen, num_steps, out, storage, address)
    served = f"--set judge.engine.model={judge}"
    if config.kind == "encoder":
        served = f"--set 'judge={{kind: encoder, folder: {judge}}}'"
    sys.stderr.write(f"saved in {judge}; use it with: {served}\n")


def _train(
    config: TrainConfig,
    pairs: Path,
    checkpoint: str,
    num_steps: int,
    out: Path,
    storage: str,
    address: str | None,
) -> None:
    from actors.deploy.connection import connected, running_cluster
    from training.learners.log import TrainLog
    from training.learners.run import fetch_best, run
    from training.learners.trainer import StepMetrics

    address = running_cluster(address)
    log = TrainLog(out)
    with connected(address), Progress("training", num_steps, log.last_step) as shown:
        if address is None:
            _check_room(config)
        else:
            _check_folders(config, storage)
        shown.phase(f"starting {config.workers.num} workers")

        def on_step(metrics: StepMetrics | str) -> None:
            if isinstance(metrics, str):
                shown.note(metrics)
                return
            log.add(metrics)
            shown.step()
            if metrics.mean_auroc is not None:
                shown.note(
                    f"step {metrics.step}: loss {metrics.loss:.4f}, validation AUROC "
                    f"{metrics.auroc:.3f} pooled, {metrics.mean_auroc:.3f} within a problem"
                )

        try:
            result = run(config, pairs, checkpoint, storage, on_step)
        finally:
            log.close()
        unfinished = out / f"_{JUDGE}"
        step = fetch_best(result, unfinished)
        unfinished.rename(out / JUDGE)
        shown.note(f"the best checkpoint is that of step {step}")


def _check_room(config: TrainConfig) -> None:
    """Refuse at once what would wait for ever.

    Raises:
        UserError: this machine is too small for the workers.
    """
    import ray

    workers = config.workers
    for name, each in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        there = ray.cluster_resources().get(name, 0)
        if each * workers.num > there:
            raise UserError(
                f"{workers.num} workers need {each * workers.num:g} {name}s, and this machine has "
                f"{there:g}: lower workers.num or workers.{name.lower()}s, or give a cluster's "
                "--address"
            )


def _check_folders(config: TrainConfig, storage: str) -> None:
    """Refuse folders that the workers' nodes do not see.

    Raises:
        UserError: they do not, or `storage` is no place for checkpoints.
    """
    from pyarrow.fs import FileSystem, LocalFileSystem

    from actors.deploy.shared_folders import COPY, check_folder, marked
    from cluster.placement import one_bundle

    try:
        filesystem, path = FileSystem.from_uri(storage)
    except (ValueError, OSError) as error:
        raise UserError(f"--storage {storage}: {' '.join(str(error).split())}") from None
    worker = one_bundle(config.resources)
    if isinstance(filesystem, LocalFileSystem):
        with marked(Path(path)):
            check_folder(Path(path), worker, STORAGE)
    if Path(config.model).is_absolute():
        check_folder(Path(config.model), worker, COPY)


def _recorded(config: TrainConfig, pairs: Path, checkpoint: str) -> dict[str, Any]:
    """What a training is of."""
    made_of = (pairs / "config.yaml").read_bytes()
    return {
        "train": config.model_dump(mode="json", exclude=NOT_OF_THE_JUDGE),
        "pairs": hashlib.sha256(made_of).hexdigest(),
        "checkpoint": checkpoint,
    }
