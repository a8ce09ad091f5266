"""How much memory `deepprune pairs` takes as its input grows.

It runs the command over recordings that are made up (random words, an answer of four) and adds up
what its processes hold, Ray's object store and workers included.

    python -m benchmarks.pairs_memory [--problems 50 200 1000] [--traces 512] [--pairs 2000]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from deepprune.schemas import TRACES

WORDS_PER_TRACE = 800
ANSWERS = ("7", "12", "0.5", "19")
SHARES = (70, 15, 10, 5)
TICK_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--traces", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=2000, help="per problem")
    parser.add_argument("--work", type=Path, help="where there is disk; else a temporary folder")
    options = parser.parse_args()
    print(f"{options.traces} traces a problem, {options.pairs:,} pairs a problem")
    print("problems   traces   input MB     pairs  seconds  driver MB  worker MB  all MB")
    for num_problems in options.problems:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            recording = Path(folder) / "traces.parquet"
            write(recording, num_problems, options.traces)
            began = time.monotonic()
            peaks = watched(
                [
                    *(sys.executable, "-m", "jobs", "pairs", str(recording)),
                    *("--out", f"{folder}/pairs", "--checkpoint", "tokens:500"),
                    *("--pairs-per-problem", str(options.pairs)),
                ]
            )
            seconds = time.monotonic() - began
            manifest = json.loads((Path(folder) / "pairs" / "manifest.json").read_text())
            megabytes = recording.stat().st_size / 1e6
            print(
                f"{num_problems:8,} {manifest['traces']:8,} {megabytes:10,.0f} "
                f"{manifest['pairs']:9,} {seconds:8,.0f} {peaks[0] / 1e6:10,.0f} "
                f"{manifest['peak_worker_bytes'] / 1e6:10,.0f} {peaks[1] / 1e6:7,.0f}",
                flush=True,
            )


def write(path: Path, num_problems: int, num_traces: int) -> None:
    """A recording, a row group for each problem."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(5_000)]
    with pq.ParquetWriter(path, TRACES) as writer:
        for problem in range(num_problems):
            rows = [
                {
                    "benchmark": "made-up",
                    "problem_id": f"made-up/{problem}",
                    "problem": f"What is {problem}?",
                    "model": "none",
                    "sample": sample,
                    "text": " ".join(rng.choices(words, k=WORDS_PER_TRACE)),
                    "num_tokens": 2 * WORDS_PER_TRACE,
                    "finish_reason": "stop",
                    "fate": "finished",
                    "answer": rng.choices(ANSWERS, SHARES)[0],
                }
                for sample in range(num_traces)
            ]
            writer.write_table(pa.Table.from_pylist(rows, TRACES))


def watched(command: list[str]) -> tuple[int, int]:
    """Run a command; the most bytes that it, and that it and its descendants, held at once.

    What processes share is counted once.
    """
    driver = psutil.Popen(command)
    own = together = 0
    while driver.poll() is None:
        sizes = held(driver.pid, [driver, *children(driver)])
        own, together = max(own, sizes[0]), max(together, sizes[1])
        time.sleep(TICK_S)
    if driver.returncode:
        raise subprocess.CalledProcessError(driver.returncode, command)
    return own, together


def children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def held(own: int, processes: Iterable[psutil.Process]) -> tuple[int, int]:
    """Bytes of the process `own`, and of all together."""
    sizes = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            sizes[process.pid] = process.memory_full_info().pss
    return sizes.get(own, 0), sum(sizes.values())


if __name__ == "__main__":
    main()
