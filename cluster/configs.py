"""The configurations that come with the project, by name."""

from __future__ import annotations

from pathlib import Path

from deepprune.errors import UserError

FOLDER = Path(__file__).parent


def shipped_configs() -> list[Path]:
    """Every shipped run configuration."""
    found = (path for path in FOLDER.glob("*.yaml") if not path.name.startswith("serve-"))
    return sorted(found, key=lambda path: path.stem)


def shipped_serve_configs() -> list[Path]:
    """Every shipped configuration of an endpoint."""
    return sorted(FOLDER.glob("serve-*.yaml"))


def resolve_config(name: str, configs: list[Path] | None = None) -> Path:
    """The file that `name` means: a path, or the name of a shipped configuration.

    Where it is neither, the error names `configs`; absent: those of runs.

    Raises:
        UserError: it is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = FOLDER / f"{name}.yaml"
    if path.name == name and shipped.is_file():
        return shipped
    names = ", ".join(config.stem for config in (configs or shipped_configs()))
    raise UserError(f"there is no configuration {name!r}: give a file, or one of {names}")
