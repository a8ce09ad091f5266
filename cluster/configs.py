"""The configurations that come with the project, by name."""

from __future__ import annotations

from pathlib import Path

from deepprune.errors import UserError

FOLDER = Path(__file__).parent


def shipped_configs() -> list[Path]:
    """Every shipped run configuration."""
    return sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem)


def resolve_config(name: str) -> Path:
    """The file that `name` means: a path, or the name of a shipped configuration.

    Raises:
        UserError: it is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = FOLDER / f"{name}.yaml"
    if path.name == name and shipped.is_file():
        return shipped
    names = ", ".join(config.stem for config in shipped_configs())
    raise UserError(f"there is no configuration {name!r}: give a file, or one of {names}")
