"""Measure a coordinator's CPU time per trace and its cancel lag over traces and nodes.

The coordinator's own code (`LiveProblem`, sessions, policies, votes) drives simulated engines
(`benchmarks/simulated.py`). One process is one coordinator shard. The CPU time of the simulation is
measured separately, on the same traces, and subtracted. The transport of events is not included:
`benchmarks/transport.py` measures it.

    python -m benchmarks.scale RECORDING [--traces 1000 10000 100000] [--nodes 1 8 64]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.driver.live import LiveProblem
from benchmarks.simulated import REPLICAS_PER_NODE, SimulatedEngines, SkippingLoop, problem_texts
from deepprune.config import LimitsConfig, SamplingConfig
from deepprune.policy_config import ConsConfig, DeepPruneConfig, PolicyConfig
from deepprune.recordings import Recording, load_recordings
from deepprune.traces import Problem

TRACES_PER_PROBLEM = 512
CHECKPOINT_TOKENS = 500
MIXED_PROBLEMS = 20
"""Recorded problems that each cell repeats, so that all cells have the same mix."""
WATCH_S = 0.25
"""Interval at which the display asks for snapshots."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: `shards` share `num_traces` and `num_nodes`, and one of them is run."""

    policy: str
    num_traces: int
    num_nodes: int
    shards: int = 1
    progress_s: float = 1.0

    @property
    def num_problems(self) -> int:
        return max(1, round(self.num_traces / TRACES_PER_PROBLEM / self.shards))

    @property
    def traces_per_problem(self) -> int:
        return min(TRACES_PER_PROBLEM, self.num_traces)

    @property
    def num_replicas(self) -> int:
        return max(1, round(self.num_nodes * REPLICAS_PER_NODE / self.shards))

    @property
    def policy_config(self) -> PolicyConfig:
        n = self.traces_per_problem
        if self.policy == "cons":
            return ConsConfig(num_traces=n)
        # All at once, so that all of them are in flight together; decoding while they are judged,
        # so that they run when they are cancelled.
        checkpoint = f"tokens:{CHECKPOINT_TOKENS}"
        return DeepPruneConfig(num_traces=n, checkpoint=checkpoint, wave=n, at_checkpoint="run")


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds are CPU seconds of one shard, except `wall_s`, seconds of the simulated run."""

    cpu_s: float
    engines_s: float
    wall_s: float
    launched: int
    updates: int
    most_in_flight: int
    memory_mib: float
    lags_ms: tuple[float, float, float]
    """Median, 99% and most, over traces cancelled while they ran."""

    @property
    def ms_per_trace(self) -> float:
        return 1000 * (self.cpu_s - self.engines_s) / self.launched

    @property
    def busy(self) -> float:
        return (self.cpu_s - self.engines_s) / self.wall_s


class Run:
    """One shard at work."""

    def __init__(self, cell: Cell, recordings: Sequence[Recording]) -> None:
        self.cell = cell
        num_rounds = max(1, round(len(recordings) / cell.num_problems))
        self.pools = problem_texts(recordings, num_rounds * cell.num_problems)
        self.engines = SimulatedEngines(
            self.pools,
            CHECKPOINT_TOKENS,
            cell.num_replicas,
            progress_s=cell.progress_s,
        )
        self.problems: dict[str, LiveProblem] = {}
        self.requests: list[Any] = []
        self.lags: list[float] = []
        self.num_launched = 0
        self.most_mib = 0.0

    async def solve_all(self) -> None:
        """All problems of a round at once, watched as a display does.

        There are rounds enough for each recorded problem to have its turn, however few are in
        flight together, so that all cells have the same mix of long and short traces.
        """
        watching = asyncio.create_task(self._watch())
        numbered = list(enumerate(self.pools))
        for start in range(0, len(numbered), self.cell.num_problems):
            together = numbered[start : start + self.cell.num_problems]
            await asyncio.gather(*(self._solve(f"p{i}", text) for i, text in together))
        watching.cancel()

    async def _solve(self, key: str, text: str) -> None:
        engines = self.engines
        problem = self.problems[key] = LiveProblem(
            key=key,
            problem=Problem(f"simulated/{key}", text),
            policy=self.cell.policy_config,
            sampling=SamplingConfig(max_tokens=131072),
            generators=engines,
            judges=engines,
            limits=LimitsConfig(),
        )
        outcome = await problem.run()
        self.num_launched += outcome.ledger.launched_traces
        self.lags += problem.cancel_lags_s
        del self.problems[key]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for problem in self.problems.values():
                problem.snapshot()
            self.most_mib = max(self.most_mib, resident_mib())


def resident_mib() -> float:
    """Memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def measure(cell: Cell, recordings: Sequence[Recording]) -> Measured:
    """Run a cell in this process, which should be fresh."""
    alone_s, alone_updates = _engines_alone(cell, recordings)
    gc.collect()
    memory = resident_mib()
    loop = SkippingLoop()
    asyncio.set_event_loop(loop)
    run = Run(cell, recordings)
    began, began_cpu = loop.time(), time.process_time()
    loop.run_until_complete(run.solve_all())
    cpu_s = time.process_time() - began_cpu
    lags = sorted(1000 * lag for lag in run.lags) or [0.0]
    return Measured(
        cpu_s,
        alone_s * run.engines.num_updates / alone_updates,
        loop.time() - began,
        run.num_launched,
        run.engines.num_updates,
        run.engines.most_running,
        run.most_mib - memory,
        (statistics.median(lags), lags[int(0.99 * len(lags))], lags[-1]),
    )


def _engines_alone(cell: Cell, recordings: Sequence[Recording]) -> tuple[float, int]:
    """CPU seconds and updates of the simulation itself, on traces of eight problems."""
    from actors.messages import TraceRequest

    pools = problem_texts(recordings[:: max(1, len(recordings) // 8)], 8)
    engines = SimulatedEngines(
        pools, CHECKPOINT_TOKENS, cell.num_replicas, progress_s=cell.progress_s
    )

    async def follow(place: int, text: str, sample: int) -> None:
        request = TraceRequest(f"{place}/{sample}/0", text, SamplingConfig(), 0)
        async with aclosing(engines.stream(request)) as updates:
            async for _ in updates:
                pass

    async def all_of_them() -> None:
        await asyncio.gather(
            *(
                follow(place, text, sample)
                for place, text in enumerate(pools)
                for sample in range(cell.traces_per_problem)
            )
        )

    loop = SkippingLoop()
    asyncio.set_event_loop(loop)
    began = time.process_time()
    loop.run_until_complete(all_of_them())
    return time.process_time() - began, engines.num_updates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recording", type=Path, help="traces whose timing is followed")
    parser.add_argument("--traces", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--policies", nargs="+", default=["cons", "deepprune"])
    parser.add_argument("--shards", type=int, default=1, help="of which one is run")
    parser.add_argument("--progress-s", type=float, default=1.0)
    parser.add_argument("--out", type=Path, help="append the rows to this JSONL file")
    options = parser.parse_args()
    recordings = load_recordings(options.recording)
    recordings = recordings[:: max(1, len(recordings) // MIXED_PROBLEMS)][:MIXED_PROBLEMS]
    print(f"{len(recordings)} recorded problems; a row is one coordinator shard in one process")
    print(HEADINGS)
    for policy, nodes, traces in itertools.product(options.policies, options.nodes, options.traces):
        cell = Cell(policy, traces, nodes, options.shards, options.progress_s)
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            measured = process.submit(measure, cell, recordings).result()
        print(row(cell, measured), flush=True)
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(json.dumps(asdict(cell) | asdict(measured)) + "\n")


HEADINGS = (
    "policy     traces  nodes shards in flight  updates  ms/trace us/update  busy"
    "  KiB/trace  cancel lag ms: median, 99%, most"
)


def row(cell: Cell, measured: Measured) -> str:
    """A line of the printed table."""
    own_s = measured.cpu_s - measured.engines_s
    return (
        f"{cell.policy:9} {cell.num_traces:7,} {cell.num_nodes:6} {cell.shards:6} "
        f"{measured.most_in_flight:9,} {measured.updates:8,} {measured.ms_per_trace:9.2f} "
        f"{1e6 * own_s / measured.updates:9.0f} {measured.busy:5.2f} "
        f"{1024 * measured.memory_mib / measured.most_in_flight:10.0f}  "
        + ", ".join(f"{lag:.1f}" for lag in measured.lags_ms)
    )


if __name__ == "__main__":
    main()
