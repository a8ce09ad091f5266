"""The `deepprune` command: reads options, calls a job, reports a mistake in one line.

Each command imports its job when it runs: `--help` has to answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer import Option

from deepprune.errors import UserError
from jobs.cli import judge, sample, sweep

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (sample, sweep, judge):
    app.add_typer(commands.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 2 on a mistake of the user's, 130 when interrupted."""
    command = typer.main.get_command(app)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context("deepprune", words) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.TyperException as error:
        failed = getattr(error, "ctx", None)
        path = failed.command_path if failed else "deepprune"
        sys.stderr.write(f"deepprune: {error.format_message()} ({path} --help lists the options)\n")
        return EXIT_USER_ERROR
    except UserError as error:
        sys.stderr.write(f"deepprune: {error}\n")
        return EXIT_USER_ERROR
    except KeyboardInterrupt as interrupt:
        saved = f": {interrupt}" if interrupt.args else ""
        sys.stderr.write(f"deepprune: interrupted{saved}\n")
        return EXIT_INTERRUPTED
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"deepprune {version('deepprune')}\n")
        raise typer.Exit


@app.callback()
def deepprune(
    version: Annotated[
        bool,
        Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
    ] = False,
) -> None:
    """Parallel reasoning at a fraction of the tokens.

    Judge unfinished traces, cancel the redundant ones, vote over the rest.
    """
