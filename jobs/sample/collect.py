"""`deepprune collect`: traces of a benchmark, sampled once to their ends, for every later replay.

Problems are sampled a few at a time; a trace is on disk seconds after it has ended. Run again with
the same folder, the command samples exactly what is missing, so raising `--num-traces` or widening
`--problems` adds to a recording.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deepprune.answers import AnswerKind
from deepprune.config import RunConfig, VllmGeneratorConfig
from deepprune.errors import UserError
from deepprune.ledger import Fate
from deepprune.traces import Problem
from jobs.render.format import counted
from jobs.render.progress import Progress
from jobs.sample.run import (
    CoordinatorDeaths,
    Interrupted,
    RunOptions,
    generator_configuration,
    interrupt_as_flag,
    run_folder,
    system_for,
)
from jobs.storage.benchmarks import Benchmark, load_benchmark
from jobs.storage.rows import Origin, sampled_columns, trace_row

if TYPE_CHECKING:
    from actors.deploy.system import System
    from actors.driver.trace_collector import Collected
    from jobs.storage.collect_store import CollectStore

POLL_S = 1.0

Work = tuple[Problem, list[int]]
"""A problem and its samples that are still missing."""


def collect(
    benchmark_name: str,
    problems: slice,
    *,
    num_traces: int,
    answer_kind: AnswerKind | None,
    instruction: str | None,
    retry_errors: bool,
    options: RunOptions,
) -> None:
    """Sample the traces that the folder lacks: `num_traces` of each of the benchmark's problems.

    Raises:
        UserError: the benchmark, the configuration, the folder or the cluster cannot work.
    """
    from jobs.storage.collect_store import CollectStore
    from jobs.storage.run_dir import RunDir

    config = generator_configuration(options)
    benchmark = load_benchmark(benchmark_name, problems, kind=answer_kind, instruction=instruction)
    out = run_folder(options, "collect")
    with RunDir(out, recorded_config(config, benchmark)) as folder:
        store = CollectStore(folder)
        if retry_errors:
            store.forget_errors()
        work = missing_work(store, benchmark.problems, num_traces)
        total = len(benchmark.problems) * num_traces
        num_known = total - sum(len(samples) for _, samples in work)
        if work:
            try:
                with (
                    Progress("collecting", total, num_known) as progress,
                    system_for(config, (), options.address, progress) as system,
                ):
                    record(system, work, store, progress)
            except Interrupted:
                raise Interrupted(f"run it again to go on; saved in {out}") from None
    errors = f", {store.num_errors} of them errors (--retry-errors)" if store.num_errors else ""
    sys.stderr.write(f"{counted(total, 'trace')}{errors}: saved in {out}\n")


def recorded_config(config: RunConfig, benchmark: Benchmark) -> dict[str, Any]:
    """What a recording is of: all that decides what a trace may be, and nothing else.

    Hardware is left out, so a recording may be continued on another cluster.
    """
    generator = config.generator
    if isinstance(generator, VllmGeneratorConfig):
        section = generator.model_dump(
            mode="json",
            include={
                "kind": True,
                "engine": {"model", "dtype", "max_model_len", "engine_args"},
                "sampling": True,
                "confidence": True,
                "confidence_top_k": True,
                "confidence_window": True,
            },
        )
    else:
        section = generator.model_dump(mode="json", include={"kind", "model", "sampling"})
    for name in ("chat_template_kwargs", "chat_template_date"):
        if value := generator.model_dump(mode="json").get(name):
            section[name] = value  # recordings from before these keys lack them
    return {"benchmark": benchmark.source, "generator": section, "seed": config.seed}


def missing_work(store: CollectStore, problems: Sequence[Problem], num_traces: int) -> list[Work]:
    """What is still to be sampled, problem by problem."""
    missing = ((problem, store.missing(problem, num_traces)) for problem in problems)
    return [(problem, samples) for problem, samples in missing if samples]


def record(system: System, work: Sequence[Work], store: CollectStore, progress: Progress) -> None:
    """Sample `work` on a running system and write it down as it comes.

    Raises:
        UserError: the disk is full, or the cluster is lost; what was written before is safe.
        Interrupted: the user stopped it; what had ended is written.
    """
    with interrupt_as_flag() as interrupted:
        try:
            for problem, traces in _ended(system, work):
                store.add([collected_row(system.config, problem, trace) for trace in traces])
                store.flush(if_due=True)
                progress.step(len(traces))
                if interrupted():
                    raise Interrupted
        finally:
            store.flush()


def _ended(system: System, work: Sequence[Work]) -> Iterator[tuple[Problem, list[Collected]]]:
    """Traces as they end, some at a time, and nothing now and then.

    As many problems are under way as the configuration allows, and none is begun before all traces
    of another have been taken: that bounds what waits here when the disk is slow. When the
    coordinator dies, the samples that have not come out are asked for again.
    """
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    coordinator, seed = system.coordinator, system.config.seed
    deaths = CoordinatorDeaths(system)
    waiting = deque(work)
    running: dict[Any, Work] = {}
    while waiting or running:
        while waiting and len(running) < system.config.limits.max_problems:
            problem, samples = waiting.popleft()
            running[coordinator.collect(problem, samples, seed)] = (problem, samples)
        ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S)
        if not ready:
            yield next(iter(running.values()))[0], []
        for stream in ready:
            problem, samples = running[stream]
            try:
                collected: list[Collected] = ray.get(next(stream))
            except StopIteration:
                del running[stream]
            except RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                raise
            except RayActorError:
                deaths.wait_until_it_is_back()
                waiting.extendleft(running.values())
                running.clear()
            else:
                deaths.nothing_since = 0
                there = {one.sample for one in collected}
                running[stream] = (problem, [s for s in samples if s not in there])
                yield problem, collected


def collected_row(config: RunConfig, problem: Problem, collected: Collected) -> dict[str, Any]:
    """A trace as a row of the traces table."""
    origin = Origin.of(config)
    return trace_row(
        problem,
        origin.model,
        collected.sample,
        fate=Fate.FINISHED if collected.error is None else Fate.LOST,
        reason="collected",
        error=collected.error,
        **sampled_columns(collected.trace, origin),
    )
