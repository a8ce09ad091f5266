"""Models of the hub on this machine: what is here of a model, and the download of the rest.

huggingface_hub does the work. Its cache and its locks let no file be downloaded twice, also not by
two nodes with one cache.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepprune.errors import UserError

NOT_LOADED = ["original/*", "metal/*", "*.pth", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "*.ot"]
"""Other formats of the same weights, which no engine of ours reads."""
REFUSED = (401, 403, 404)
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """How many bytes a model has, and how many of them are not here yet."""

    model: str
    num_bytes: int
    missing: int


def fetch_models(models: Sequence[str], token: str | None, download: bool) -> Iterator[ModelFiles]:
    """Yield what is here of each model; with `download`, again every second until all of it is.

    Without `token`, use this machine's.

    Raises:
        UserError: the hub cannot be reached, does not give a model, or the disk has no room.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    for model in models:
        with _explained(model):
            files, num_bytes = _listed(model, token)
            missing = sum(file.file_size or 0 for file in files)
            yield ModelFiles(model, num_bytes, missing)
            if not (files and download):
                continue
            _check_room(missing)
            names = [file.filename for file in files]
            before = cache_bytes(model)
            pool = ThreadPoolExecutor(1)
            fetching = pool.submit(snapshot_download, model, allow_patterns=names, token=token)
            while not wait([fetching], POLL_S).done:
                left = missing - (cache_bytes(model) - before)
                yield ModelFiles(model, num_bytes, max(0, left))
            fetching.result()
            yield ModelFiles(model, num_bytes, 0)


def cache_bytes(model: str | None = None) -> int:
    """Bytes on disk of one hub model, or of all, those of unfinished downloads included."""
    from huggingface_hub import constants

    name = "*" if model is None else model.replace("/", "--")
    total = 0
    for blob in Path(constants.HF_HUB_CACHE).glob(f"models--{name}/blobs/*"):
        try:
            total += blob.stat().st_size
        except FileNotFoundError:  # renamed meanwhile
            continue
    return total


def bytes_arrive(within_s: float) -> bool:
    """Whether this machine's cache of models changes within so many seconds."""
    before, end = cache_bytes(), time.monotonic() + within_s
    while time.monotonic() < end:
        time.sleep(min(POLL_S, within_s))
        if cache_bytes() != before:
            return True
    return False


def _listed(model: str, token: str | None) -> tuple[list[Any], int]:
    """List the files of a model that are not here yet; return its size in bytes too."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError

    try:
        found = snapshot_download(model, ignore_patterns=NOT_LOADED, token=token, dry_run=True)
    except DryRunError as error:
        try:
            ignored = [*NOT_LOADED, "*.bin"]
            here = partial(snapshot_download, model, local_files_only=True)
            folder = Path(here(ignore_patterns=ignored))
            if not any(folder.glob("*.safetensors")):
                here(ignore_patterns=NOT_LOADED)
        except LocalEntryNotFoundError:
            raise error from error.__cause__
        return [], sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if any(file.filename.endswith(".safetensors") for file in found):
        found = [file for file in found if not file.filename.endswith(".bin")]
    return [f for f in found if f.will_download], sum(file.file_size or 0 for file in found)


def _check_room(missing: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.exists())).free
    if free < missing:
        raise UserError(
            f"{missing / 1e9:.1f} GB are missing, and {cache} has room for {free / 1e9:.1f}: make "
            "room, or set HF_HOME to a folder on a larger disk"
        )


@contextmanager
def _explained(model: str) -> Iterator[None]:
    """Turn errors of the hub and of the disk into one line."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.errors import HTTPError as HttpError  # type: ignore[attr-defined]

    try:
        yield
    except UserError as error:
        raise UserError(f"model {model!r}: {error}") from None
    except (OSError, HttpError) as error:
        refused = isinstance(error, HfHubHTTPError)
        reason = error if refused or error.__cause__ is None else error.__cause__
        if isinstance(reason, HfHubHTTPError) and reason.response.status_code in REFUSED:
            raise UserError(
                f"model {model!r}: the hub does not give it (status "
                f"{reason.response.status_code}): check the name; for a gated or private model "
                "accept its terms on the hub, and set HF_TOKEN or run `hf auth login`"
            ) from None
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise UserError(
                f"model {model!r}: the disk is full: make room, or move HF_HOME"
            ) from None
        raise UserError(
            f"model {model!r}: no hub can be reached to fetch it from "
            f"({' '.join(str(reason).split())[:160]}): check the network, HF_ENDPOINT and "
            "HF_HUB_OFFLINE"
        ) from None
