"""The commands of `deepprune`: their arguments, and the job each hands over to.

One module a command, with `HELP`, `DESCRIPTION`, `arguments(parser)` and `run(options)`. Nothing
heavy is imported before `run`: `--help` has to answer at once.
"""

from __future__ import annotations

NAMES = (
    *("answer", "demo", "serve"),
    *("collect", "import", "sweep", "report", "plan"),
    *("pairs", "train", "cheap", "evaluate", "ablate"),
)
"""In the order of `deepprune --help`."""
