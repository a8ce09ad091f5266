"""Configurations from YAML files: found by name, read, and validated, with errors of one line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deepprune.errors import UserError, reason
from deepprune.policy_config import POLICY_NAMES

Model = TypeVar("Model", bound=BaseModel)

_TAGS = ("vllm", "endpoint", "features", "encoder", *POLICY_NAMES)


def find(name: str | Path, shipped: Sequence[Path], what: str = "configuration") -> Path:
    """The file that `name` means: a path, or the name of one of the `shipped` files.

    Raises:
        UserError: it is neither.
    """
    if Path(name).is_file():
        return Path(name)
    for path in shipped:
        if path.stem == str(name):
            return path
    names = ", ".join(sorted(path.stem for path in shipped))
    raise UserError(f"there is no {what} {str(name)!r}: give a file, or one of {names}")


def read_yaml(path: str | Path, overrides: dict[str, Any] | None = None) -> Any:
    """What a YAML file says, with `overrides` (dotted keys) laid over it.

    Raises:
        UserError: the file is missing, or is not YAML.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {reason(error)}") from None
    return laid_over(data, overrides) if isinstance(data, dict) else data


def laid_over(data: dict[str, Any], overrides: dict[str, Any] | None) -> dict[str, Any]:
    """`data`, changed by `overrides` (dotted keys)."""
    for key, value in (overrides or {}).items():
        *path, last = key.split(".")
        section = data
        for part in path:
            if not isinstance(section.get(part), dict):
                section[part] = {}
            section = section[part]
        section[last] = value
    return data


def validated(kind: type[Model], data: Any, source: str) -> Model:
    """`data` as a configuration; `source` names it in errors.

    Raises:
        UserError: a key is unknown, missing or wrong; the message names each.
    """
    if not isinstance(data, dict):
        keys = ", ".join(list(kind.model_fields)[:3])
        raise UserError(f"{source}: not a configuration: expected keys such as {keys}")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {explained(error)}") from None


def explained(error: ValidationError) -> str:
    """All that is wrong, in one line."""
    problems = []
    for detail in error.errors():
        if detail["type"] == "default_factory_not_called":  # for want of another, wrong key
            continue
        path = [str(part) for part in detail["loc"]]
        for at, (section, name) in enumerate(pairwise(path)):
            if section in ("generator", "judge", "policy") and name in _TAGS:
                del path[at + 1]  # which of the sections it is, not a key that anybody wrote
                break
        match detail["type"]:
            case "extra_forbidden":
                message = "unknown key"
            case "missing":
                message = "missing"
            case "union_tag_invalid":
                message = "{tag!r} is not one of {expected_tags}".format(**detail["ctx"])
            case _:
                message = detail["msg"].removeprefix("Value error, ")
        where = ".".join(path)
        problems.append(f"{where}: {message}" if where else message)
    return "; ".join(problems)
