"""The shipped configurations, by name."""

from __future__ import annotations

from pathlib import Path

from deepprune.loading import find

FOLDER = Path(__file__).parent


def shipped_configs() -> list[Path]:
    """List the shipped run configurations."""
    found = (path for path in FOLDER.glob("*.yaml") if not path.name.startswith("serve-"))
    return sorted(found, key=lambda path: path.stem)


def shipped_serve_configs() -> list[Path]:
    """List the shipped endpoint configurations."""
    return sorted(FOLDER.glob("serve-*.yaml"))


def resolve_config(name: str, configs: list[Path] | None = None) -> Path:
    """Find the file `name`: a path, or the name of one of `configs`, by default run configurations.

    Raises:
        UserError: it is neither.
    """
    return find(name, shipped_configs() if configs is None else configs)
