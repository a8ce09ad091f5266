"""The base of every section of a configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Discriminator


class Section(BaseModel):
    """Base of every section: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def tag(key: str, default: str) -> Discriminator:
    """Choose among sections by `key`, which may be left out for the usual one."""

    def read(section: Any) -> str:
        found = section.get(key, default) if isinstance(section, dict) else getattr(section, key)
        return str(found)

    return Discriminator(read)
