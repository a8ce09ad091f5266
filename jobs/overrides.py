"""What `--set KEY=VALUE` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from deepprune.errors import UserError


def settings_of(given: Sequence[str], *, example: str) -> dict[str, Any]:
    """Values by dotted keys, read as YAML.

    Raises:
        UserError: one is not KEY=VALUE, or its value is no YAML.
    """
    settings: dict[str, Any] = {}
    for setting in given:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting}: write KEY=VALUE, such as {example}")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {setting}: {value!r} is not a YAML value") from None
    return settings
