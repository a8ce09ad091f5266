"""The base of every section of a configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator

SHIPPED = ("miniature/", "smollm2")
"""How names of models begin that are installed with the package."""


class Section(BaseModel):
    """Base of every section: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_path(model: str) -> bool:
    """Whether a model's name is a path, and not one of a hub or of an installed model."""
    if model.startswith(SHIPPED) or "://" in model:
        return False
    looks_like_one = model.startswith(("/", ".", "~")) or model.count("/") > 1
    return looks_like_one or Path(model).exists()


def is_hub_name(model: str) -> bool:
    """Whether a configuration's model is one of a hub, and not a folder or installed."""
    return not is_path(model) and not model.startswith(SHIPPED)


def _absolute(model: str) -> str:
    return os.path.abspath(os.path.expanduser(model)) if is_path(model) else model


Model = Annotated[str, AfterValidator(_absolute)]
"""A model or judge: its folder, made absolute since workers run in other folders, or its name."""


def tag(key: str, default: str) -> Discriminator:
    """Choose among sections by `key`, which may be left out for the usual one."""

    def read(section: Any) -> str:
        found = section.get(key, default) if isinstance(section, dict) else getattr(section, key)
        return str(found)

    return Discriminator(read)
