"""Types of the options that commands share. `--help` reads this module: import nothing heavy."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, BadParameter, Option

from deepprune.errors import UserError

AnswerKind = Literal["auto", "choice", "math"]
LivePolicy = Literal[
    "cons",
    "esc",
    "adaptive",
    "short-m@k",
    "mmc",
    "deepconf-low",
    "deepconf-high",
    "deepprune",
    "deepprune+",
]
"""All policies but `oracle`, which knows how traces end. Named here: pydantic is slow to import."""


def part(text: str) -> slice:
    """Read A:B as a slice."""
    match = re.fullmatch(r"([0-9]*):([0-9]*)", text)
    if match is None:
        raise BadParameter("write A:B, such as 0:10, :10 or 10:")
    start, stop = (int(number) if number else None for number in match.groups())
    return slice(start, stop)


def share(value: float) -> float:
    """Refuse a number that is not between 0 and 1."""
    if not 0 < value < 1:
        raise BadParameter("must be between 0 and 1, such as 0.05")
    return value


def size(value: float) -> float:
    """Refuse a negative or an infinite number."""
    if not 0 <= value < float("inf"):
        raise BadParameter("must be 0 or more")
    return value


def log(verbose: bool) -> None:
    """Write log records to stderr: warnings, or everything."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


Pairs = Annotated[Path, Argument(help="Folder that `deepprune pairs` wrote.")]
Config = Annotated[str, Option(help="Configuration file, or the name of a shipped one.")]
Policy = Annotated[
    LivePolicy | None,
    Option(help="Replace the configuration's policy; keep the settings that both policies have."),
]
NumTraces = Annotated[int | None, Option(metavar="N", help="Traces per problem.")]
Tau = Annotated[float | None, Option(help="Threshold of the judge's P(same).")]
Checkpoint = Annotated[str | None, Option(help="tokens:K or reasoning_words:W.")]
PairsCheckpoint = Annotated[
    str | None, Option(help="Checkpoint to use, where the pairs hold prefixes of several.")
]
Seed = Annotated[int | None, Option(help="Replace the configuration's seed.")]
Settings = Annotated[
    list[str] | None,
    Option(
        "--set", metavar="KEY=VALUE", help="Set any other key of the configuration (repeatable)."
    ),
]
Address = Annotated[
    str | None, Option(help="Address of a running Ray cluster; without it, start one here.")
]
Out = Annotated[Path, Option(help="Folder to write.")]
RunOut = Annotated[
    Path | None, Option(help="Folder to write; default: runs/COMMAND-TIME.", show_default=False)
]
TargetError = Annotated[
    float,
    Option(
        metavar="SHARE", callback=share, help="Share of agreeing pairs that a threshold may lose."
    ),
]
Markdown = Annotated[Path | None, Option(metavar="FILE", help="Write the tables here too.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object on stdout.")]
Verbose = Annotated[bool, Option("--verbose", "-v", callback=log, help="Log what happens.")]


def overrides(
    settings: Sequence[str] | None, options: Mapping[str, Any] | None = None, *, example: str
) -> dict[str, Any]:
    """Values by dotted keys: those of `--set`, read as YAML, and of options that were given.

    Raises:
        UserError: a setting is not KEY=VALUE, or its value is no YAML.
    """
    import yaml

    found: dict[str, Any] = {}
    for setting in settings or ():
        key, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting}: write KEY=VALUE, such as {example}")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {setting}: {value!r} is not a YAML value") from None
    return found | {key: value for key, value in (options or {}).items() if value is not None}
