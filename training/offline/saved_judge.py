"""A judge's folder: what identifies its weights, and the threshold that runs find in it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from actors.encoder_config import ENCODER_FILE
from actors.models import JUDGE_FILE, resolve_model
from deepprune.errors import UserError
from deepprune.feature_judge import FILE as FEATURES_FILE
from training.offline.scoring import BASELINES

SETTINGS_FILES = (JUDGE_FILE, ENCODER_FILE, FEATURES_FILE)
CALIBRATED = ("tau", "base_rate", "auroc")
"""Settings that a calibration writes. They change no score."""


def judge_folder(name: str) -> Path | None:
    """The folder of a judge, or None for a baseline and for a model of a hub.

    Raises:
        UserError: `name` is written as a path and no model is there.
    """
    if name in BASELINES:
        return None
    if (Path(name) / FEATURES_FILE).is_file():
        return Path(name)
    folder = Path(resolve_model(name))
    return folder if folder.is_dir() else None


def settings_file(folder: Path | None) -> Path | None:
    """The file with a judge's settings, if the folder has one."""
    files = [] if folder is None else [folder / name for name in SETTINGS_FILES]
    return next((file for file in files if file.is_file()), None)


def fingerprint(folder: Path | None) -> str:
    """A digest of all files that decide a judge's scores; empty without a folder."""
    if folder is None:
        return ""
    digest = hashlib.sha256()
    settings = settings_file(folder)
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        if file == settings:
            known = {k: v for k, v in _read(file).items() if k not in CALIBRATED}
            content = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        else:
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.name}:{content}\n".encode())
    return digest.hexdigest()


def saved_tau(folder: Path | None) -> float | None:
    """The threshold in a judge's folder, if it has one."""
    settings = settings_file(folder)
    tau: float | None = None if settings is None else _read(settings).get("tau")
    return tau


def save_threshold(settings: Path, tau: float, base_rate: float, auroc: float) -> None:
    """Write the calibration on validation pairs into the judge's settings file."""
    known = _read(settings)
    known["tau"] = tau
    if settings.name != FEATURES_FILE:  # it has its own base rate and AUROC from its training
        known["base_rate"] = base_rate
        if math.isfinite(auroc):
            known["auroc"] = max(0.5, auroc)
    text = json.dumps(known, indent=2, ensure_ascii=False)
    settings.write_text(text + "\n", encoding="utf-8")


def _read(settings: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{settings} cannot be read: train the judge again") from None
    return known
