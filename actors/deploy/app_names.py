"""Names of the Serve applications of a run: equal engines have equal names, so runs share them.

A name ends in a digest of all that determines a replica: its section of the configuration, the
files of its model, and this code. Training a model again at the same path changes the name.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from actors.models import judge_prompt, resolve_model
from cluster.settings import settled
from deepprune.config import RunConfig, VllmGeneratorConfig, VllmJudgeConfig

ROOT = Path(__file__).parents[2]
GENERATOR_APP = "deepprune-generator"
JUDGE_APP = "deepprune-judge"


def generator_app_name(config: RunConfig) -> str | None:
    """The name of the generator's application; None where no engine of ours generates."""
    generator = config.generator
    if not isinstance(generator, VllmGeneratorConfig):
        return None
    # Each request says how it is sampled.
    section = settled(generator).model_dump(mode="json", exclude={"sampling"})
    return _name(GENERATOR_APP, generator.engine.model, section, config.limits.stall_s)


def judge_app_name(config: RunConfig) -> str | None:
    """The name of the judge's application; None where a run has no judge.

    Raises:
        UserError: the judge's folder or `judge.json` is not as it should be.
    """
    judge = config.judge
    if judge is None:
        return None
    section = judge.model_dump(mode="json")
    if not isinstance(judge, VllmJudgeConfig):
        return _name(JUDGE_APP, judge.folder, section, config.limits.stall_s)
    section["prompt"] = judge_prompt(judge).model_dump(mode="json")
    return _name(JUDGE_APP, judge.engine.model, section, config.limits.stall_s)


def _name(prefix: str, model: str, section: dict[str, Any], stall_s: float) -> str:
    parts = [code_digest(), section, stall_s, _files(model)]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=4)
    return f"{prefix}-{digest.hexdigest()}"


@cache
def code_digest() -> str:
    """A digest of the code that replicas and drivers share."""
    digest = hashlib.blake2b()
    for room in ("actors", "deepprune"):
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(model: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file of a model; nothing for one of a hub."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = Path(resolve_model(model))
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(str(path.relative_to(folder)), s.st_size, s.st_mtime_ns) for path, s in found]
