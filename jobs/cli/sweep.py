"""Commands that compare policies: `sweep`, `prior`, `report` and `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from jobs.cli.options import Address, Json, Markdown, Settings, Verbose, overrides, size

app = typer.Typer()


@app.command()
def sweep(
    config: Annotated[str, Argument(help="Sweep's file, or the name of a shipped one.")],
    out: Annotated[
        Path | None, Option(help="Folder to write; default: runs/sweep-NAME-TIME.")
    ] = None,
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Compare policies on the same problems, recorded or live.

    Run every policy of a sweep under every setting. With the --out of a sweep that was stopped,
    continue it.
    """
    from jobs.sweep.command import sweep

    sweep(config, overrides(settings, example="seeds=20"), out, address)


@app.command()
def prior(
    sources: Annotated[
        list[Path], Argument(metavar="RECORDING...", help="Recordings, or folders of runs.")
    ],
    out: Annotated[Path, Option(help="File to write.")] = Path("prior.json"),
    verbose: Verbose = False,
) -> None:
    """Learn how votes split: the prior of `deepprune+` without a judge."""
    from jobs.sweep.prior import learn_prior

    learn_prior(sources, out)


@app.command()
def report(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="Folders of runs.")],
    out: Annotated[
        Path | None,
        Option(help="Folder to write; default: the run's own, or runs/report-TIME for several."),
    ] = None,
    markdown: Markdown = None,
    max_text: Annotated[
        float,
        Option(
            metavar="MB",
            callback=size,
            help="Size of the traces in the file; longer ones are cut to it.",
        ),
    ] = 16,
    verbose: Verbose = False,
) -> None:
    """Write tables, plots and every problem of some runs as one HTML file.

    Compare policies by cost and accuracy. Write report.html, which needs no network, and its plots
    as PNG.
    """
    from jobs.report.command import write_report

    write_report(runs, out, markdown, max_text)


@app.command()
def plan(
    config: Annotated[str, Argument(help="Plan's file, or the name of a shipped one.")],
    settings: Settings = None,
    as_json: Json = False,
    markdown: Markdown = None,
    verbose: Verbose = False,
) -> None:
    """Predict what a sweep takes on which nodes, before renting any.

    Replay a sweep in virtual time on GPUs described by their datasheets. Print hours, GPU-hours and
    tokens of each policy on each mix of nodes, and the cheapest mix.
    """
    from jobs.sweep.plan import plan

    plan(config, overrides(settings, example="num_problems=60"), as_json, markdown)
