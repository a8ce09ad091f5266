"""Commands that sample traces or bring recorded ones: `answer` to `import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from jobs.cli.options import (
    Address,
    AnswerKind,
    Checkpoint,
    Config,
    Json,
    NumTraces,
    Out,
    Policy,
    RunOut,
    Seed,
    Settings,
    Tau,
    Verbose,
    overrides,
    part,
)

app = typer.Typer()


@app.command()
def answer(
    problem: Annotated[str | None, Argument(help="Problem; stdin when absent or -.")] = None,
    file: Annotated[Path | None, Option(help="Read the problem from this file.")] = None,
    as_json: Json = False,
    policy: Policy = None,
    num_traces: NumTraces = None,
    tau: Tau = None,
    checkpoint: Checkpoint = None,
    config: Config = "laptop",
    seed: Seed = None,
    settings: Settings = None,
    address: Address = None,
    out: RunOut = None,
    verbose: Verbose = False,
) -> None:
    """Answer one problem by voting over many traces.

    Give the problem as the argument, in a file, or on stdin.
    """
    from jobs.sample.answer import answer
    from jobs.sample.run import RunOptions

    changed = _policy_overrides(settings, num_traces, tau, checkpoint, seed)
    answer(problem, file, as_json, RunOptions(config, policy, changed, address, out))


@app.command()
def demo(
    num_problems: Annotated[int, Option(min=1, metavar="N", help="Number of problems.")] = 24,
    policy: Policy = None,
    num_traces: NumTraces = None,
    tau: Tau = None,
    checkpoint: Checkpoint = None,
    config: Config = "laptop",
    seed: Seed = None,
    settings: Settings = None,
    address: Address = None,
    out: RunOut = None,
    verbose: Verbose = False,
) -> None:
    """Compare pruning with plain self-consistency, live.

    Answer generated problems with self-consistency, with the configured policy, and with
    deepprune+ unless --policy names one, on the miniature models. Runs on a laptop.
    """
    from jobs.sample.demo import demo
    from jobs.sample.run import RunOptions

    changed = _policy_overrides(settings, num_traces, tau, checkpoint, seed)
    demo(num_problems, RunOptions(config, policy, changed, address, out))


@app.command()
def check(
    config: Annotated[
        str, Argument(help="A run's or an endpoint's file, or the name of a shipped one.")
    ] = "laptop",
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Check a configuration and the cluster before a long run.

    Look at models, prompts, answer tokens, cache, versions, drivers, disks and hub, and run a short
    trace on the real engines. Each line that is wrong says what to do.
    """
    from jobs.check.command import check

    check(config, overrides(settings, example="generator.engine.max_num_seqs=64"), address)


@app.command()
def engines(
    config: Annotated[
        str, Argument(help="Configuration file, or the name of a shipped one.")
    ] = "laptop",
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Keep engines running for other commands.

    Start the generators and judges of a configuration on a running cluster, until interrupted.
    Commands with --address and equal engines use them instead of starting their own.
    """
    from jobs.sample.engines import engines
    from jobs.sample.run import RunOptions

    changed = overrides(settings, example="generator.engine.max_num_seqs=64")
    engines(RunOptions(config, None, changed, address))


@app.command()
def fetch(
    config: Annotated[
        str,
        Argument(help="File of a run, an endpoint or a training, or the name of a shipped one."),
    ],
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what is there.")] = False,
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Download the models of a configuration.

    Download them on each node of a running cluster that can hold their engines, or on this machine.
    What is there is not downloaded again.
    """
    from jobs.sample.fetch import fetch

    changed = overrides(settings, example="generator.engine.model=Qwen/Qwen3-32B")
    fetch(config, changed, address, not dry_run)


@app.command()
def serve(
    config: Annotated[
        str, Argument(help="Endpoint's configuration file, or the name of a shipped one.")
    ] = "serve-laptop",
    host: Annotated[str | None, Option(help="Replace http.host.")] = None,
    port: Annotated[int | None, Option(help="Replace http.port.")] = None,
    settings: Settings = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Serve models over HTTP, OpenAI-compatible.

    Serve the models of a configuration until interrupted. docs/endpoint.md describes the endpoint.
    """
    from jobs.sample.serve import serve

    options = {"http.host": host, "http.port": port}
    serve(config, overrides(settings, options, example="http.port=8000"), address)


@app.command()
def collect(
    benchmark: Annotated[
        str,
        Argument(
            help="aime22 to aime25, math500, gpqa-diamond, gsm8k, miniature, or a Parquet, JSONL, "
            "JSON or CSV file with columns problem and reference."
        ),
    ],
    num_traces: Annotated[int, Option(min=1, metavar="N", help="Traces per problem.")] = 64,
    problems: Annotated[
        slice | None, Option(parser=part, metavar="A:B", help="Only these problems, from 0.")
    ] = None,
    answer_kind: Annotated[
        AnswerKind | None, Option(help="Replace the benchmark's kind of answer.")
    ] = None,
    instruction: Annotated[
        str | None, Option(help="Text below each problem; replaces the benchmark's.")
    ] = None,
    retry_errors: Annotated[
        bool, Option("--retry-errors", help="Sample again traces that ended in an error.")
    ] = False,
    config: Config = "laptop",
    seed: Seed = None,
    settings: Settings = None,
    address: Address = None,
    out: RunOut = None,
    verbose: Verbose = False,
) -> None:
    """Sample traces of a benchmark once, for every later replay.

    Sample traces to their ends and save each as it ends. With the --out of an earlier run, sample
    only the missing traces.
    """
    from jobs.sample.collect import collect
    from jobs.sample.run import RunOptions

    changed = overrides(settings, {"seed": seed}, example="generator.sampling.temperature=0.6")
    collect(
        benchmark,
        problems or slice(None),
        num_traces=num_traces,
        answer_kind=answer_kind,
        instruction=instruction,
        retry_errors=retry_errors,
        options=RunOptions(config, None, changed, address, out),
    )


@app.command("import")
def import_(
    sources: Annotated[list[Path], Argument(metavar="SOURCE...", help="Files or folders.")],
    columns: Annotated[
        list[str],
        Option(
            "--map",
            metavar="OURS=THEIRS,...",
            help="Their columns: problem and text are required; answer, problem_id, reference, "
            "model, num_tokens and finish_reason are optional. doc.problem reads a key of an "
            "object, resps[0] an element of a list; text=resps[0][*] makes a trace of every "
            "element. (repeatable)",
        ),
    ],
    out: Out,
    benchmark: Annotated[str, Option(metavar="NAME", help="Name of the benchmark.")] = "imported",
    model: Annotated[
        str, Option(metavar="NAME", help="Name of the model, where no column holds it.")
    ] = "imported",
    answer_kind: Annotated[AnswerKind, Option(help="Kind of the answers.")] = "auto",
    truncated_answers: Annotated[
        Literal["none", "last_box"],
        Option(help="Answer of a trace whose finish_reason says that it was cut in its thought."),
    ] = "none",
    verbose: Verbose = False,
) -> None:
    """Bring recorded traces of another layout into shape.

    Read any Parquet, JSONL, JSON or CSV with prompts and responses as a recording.
    """
    from jobs.storage.import_traces import import_traces

    import_traces(
        sources,
        columns,
        out,
        benchmark=benchmark,
        model=model,
        answer_kind=answer_kind,
        truncated_answers=truncated_answers,
    )


def _policy_overrides(
    settings: list[str] | None,
    num_traces: int | None,
    tau: float | None,
    checkpoint: str | None,
    seed: int | None,
) -> dict[str, Any]:
    options = {
        "policy.num_traces": num_traces,
        "policy.tau": tau,
        "policy.checkpoint": checkpoint,
        "seed": seed,
    }
    return overrides(settings, options, example="policy.wave=64")
