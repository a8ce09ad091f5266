"""Soak test: inject mixed faults at random times while a sweep runs.

`python -m tests.support.nodes.soak --seconds 600 --seed 0 --out FOLDER` (`make soak`) sweeps with
the `deepprune` command over hosts of its own, and writes `faults.md` and `faults.json` to FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from tests.support.nodes import faults
from tests.support.nodes.cluster import assert_nothing_is_left, hosts_and_head, run_settings
from tests.support.nodes.faults import NoVictim, Scene
from tests.support.waiting import whole

TICK_S = 0.25
MAX_QUIET_S = 180
"""A fault after which no result comes for so long was not survived."""


@dataclass
class Injected:
    """One fault, what it hit, and when a result came, and all replicas were back, after it."""

    kind: str
    victim: str
    at_s: float
    result_after_s: float | None = None
    whole_after_s: float | None = None


@dataclass
class Injector(threading.Thread):
    """Injects faults for `seconds`, from `kinds` in random order, each kind once before any twice.

    `num_results` counts what the load has finished; `whole` says whether all replicas run. In a
    `with` statement it runs, and at its end, also an early one, puts no more hosts in the place of
    those that are gone.
    """

    scene: Scene
    kinds: Sequence[Callable[[Scene], str]]
    seconds: float
    gap_s: tuple[float, float]
    num_results: Callable[[], int]
    whole: Callable[[], bool]
    injected: list[Injected] = field(default_factory=list)
    error: str | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._waiting: list[Callable[[Scene], str]] = []
        self._results_before: dict[int, int] = {}
        self._began = 0.0
        self._stopped = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            self._run()
        except Exception:  # noqa: BLE001 - the test in the main thread shall see it
            self.error = traceback.format_exc()

    def _run(self) -> None:
        self._began = time.monotonic()
        end = self._began + self.seconds
        following = self._began + self.scene.rng.uniform(*self.gap_s)
        while (now := time.monotonic()) < end and not self._stopped.is_set():
            self.scene.end_what_is_due()
            self.scene.fill()
            if now >= following and self._inject():
                following = now + self.scene.rng.uniform(*self.gap_s)
            self._note()
            time.sleep(TICK_S)
        self.scene.end_what_is_due(all_of_it=True)
        while time.monotonic() < end + MAX_QUIET_S and not self._over():
            self.scene.fill()
            self._note()
            time.sleep(TICK_S)

    def _inject(self) -> bool:
        """Inject a fault of the first kind that has a victim."""
        if not self._waiting:
            self._waiting = self.scene.rng.sample(list(self.kinds), len(self.kinds))
        for place, kind in enumerate(self._waiting):
            try:
                victim = kind(self.scene)
            except NoVictim:
                continue
            del self._waiting[place]
            self._results_before[len(self.injected)] = self.num_results()
            at_s = round(time.monotonic() - self._began, 1)
            self.injected.append(Injected((kind.__doc__ or "").strip(), victim, at_s))
            return True
        return False

    def _note(self) -> None:
        now = time.monotonic() - self._began
        whole = self.whole()
        for place, fault in enumerate(self.injected):
            if fault.result_after_s is None and self.num_results() > self._results_before[place]:
                fault.result_after_s = max(0.0, round(now - fault.at_s, 1))
            # A dead replica is noticed after a moment; until then all seem to run.
            if fault.whole_after_s is None and whole and now > fault.at_s + 1:
                fault.whole_after_s = round(now - fault.at_s, 1)

    def _over(self) -> bool:
        settled = self.whole() and all(f.result_after_s is not None for f in self.injected)
        return settled or self._stopped.is_set()

    def __enter__(self) -> Injector:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self.join()


def table(injected: Sequence[Injected]) -> str:
    """Survived and injected by kind, as Markdown."""
    kinds: dict[str, list[Injected]] = defaultdict(list)
    for fault in injected:
        kinds[fault.kind].append(fault)
    lines = [
        "| fault | injected | survived | next result after, s | all replicas back after, s |",
        "|---|---|---|---|---|",
    ]
    for kind, some in sorted(kinds.items()):
        survived = sum(fault.result_after_s is not None for fault in some)
        lines.append(
            f"| {kind} | {len(some)} | {survived} | {_range(some, 'result_after_s')} "
            f"| {_range(some, 'whole_after_s')} |"
        )
    total = sum(fault.result_after_s is not None for fault in injected)
    lines.append(f"| **all** | **{len(injected)}** | **{total}** | | |")
    return "\n".join(lines) + "\n"


def _range(faults: Sequence[Injected], name: str) -> str:
    values = sorted(v for fault in faults if (v := getattr(fault, name)) is not None)
    if not values:
        return "–"
    return f"{values[0]:.0f}" if len(values) == 1 else f"{values[0]:.0f} to {values[-1]:.0f}"


def save(folder: Path, injected: Sequence[Injected], **facts: object) -> None:
    """Write `faults.md` and `faults.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.md").write_text(table(injected))
    data = facts | {"faults": [asdict(fault) for fault in injected]}
    (folder / "faults.json").write_text(json.dumps(data, indent=1) + "\n")


class Sweep:
    """`deepprune sweep` in a process of its own, over problems without end."""

    def __init__(self, folder: Path, address: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out = folder / "sweep"
        self._folder, self._address = folder, address
        (folder / "run.yaml").write_text(yaml.safe_dump(run_settings()))
        sweep = {
            "runs": ["run.yaml"],
            "benchmarks": ["miniature"],
            "policies": [{"name": "cons"}, {"name": "deepprune"}],
            "num_traces": [64],
            "checkpoints": ["tokens:54"],
            "seeds": 50,
        }
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        arguments = ["sweep", str(self._folder / "sweep.yaml"), "--out", str(self.out)]
        command = [sys.executable, "-m", "jobs", *arguments, "--address", self._address]
        with (self._folder / "sweep.log").open("ab") as log:
            return subprocess.Popen(command, stderr=log, stdout=log, start_new_session=True)

    def kill(self) -> None:
        """Kill it, and run the same command again."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def interrupt(self) -> int:
        """Ctrl-C, and its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)

    def num_results(self) -> int:
        """Outcomes on disk."""
        return len(list((self.out / "outcomes").glob("*.parquet")))

    def check(self) -> dict[str, int]:
        """Every outcome is there once, whole, and adds up with its traces; how many of what.

        A part that is there is never written again, so nothing was done twice.
        """
        outcomes, keys = 0, Counter[tuple[object, ...]]()
        num_tokens = num_traces = 0
        for path in (self.out / "outcomes").glob("*.parquet"):
            (row,) = pq.read_table(path).to_pylist()
            traces = pq.read_table(self.out / "traces" / path.name).to_pylist()
            keys[row["problem_id"], row["policy"], row["seed"]] += 1
            assert row["complete"] and not row["lost_traces"], path
            assert set(Counter(trace["sample"] for trace in traces).values()) == {1}, path
            ends = {end["sample"]: (end["fate"], end["num_tokens"]) for end in row["ends"]}
            assert ends == {t["sample"]: (t["fate"], t["num_tokens"]) for t in traces}, path
            assert len(row["ends"]) == len(ends), path
            if row["policy"] == "cons":
                assert row["finished_traces"] == 64, path
            outcomes += 1
            num_traces += len(traces)
            num_tokens += sum(trace["num_tokens"] for trace in traces)
        assert set(keys.values()) == {1}
        return {"outcomes": outcomes, "traces": num_traces, "tokens": num_tokens}


def soak(seconds: float, seed: int, folder: Path) -> None:
    """Sweep under faults for `seconds`, check everything, and save the table.

    Raises:
        AssertionError: something did not survive, or something is left behind.
    """
    with hosts_and_head(seed) as scene:
        sweep = Sweep(folder, scene.hosts.address)
        scene.kill_driver = sweep.kill
        while not sweep.num_results():
            assert sweep.process.poll() is None, "the sweep ended before its first outcome"
            time.sleep(1)
        kinds = (*faults.ALL, faults.kill_driver)
        with Injector(scene, kinds, seconds, (8, 22), sweep.num_results, whole) as injector:
            while injector.is_alive():
                assert sweep.process.poll() in (None, -signal.SIGKILL), "the sweep ended by itself"
                time.sleep(1)
        assert injector.error is None, injector.error
        status = sweep.interrupt()
        found = sweep.check()
        save(folder, injector.injected, seconds=seconds, seed=seed, **found)
        sys.stdout.write(table(injector.injected) + f"\n{found}, seed {seed}\n")
        assert status in (0, 130), f"the sweep ended with {status}"
        assert all(fault.result_after_s is not None for fault in injector.injected)
        assert all(fault.whole_after_s is not None for fault in injector.injected)
        assert_nothing_is_left(scene.hosts)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs") / time.strftime("soak-%H%M%S"))
    options = parser.parse_args()
    soak(options.seconds, options.seed, options.out)


if __name__ == "__main__":
    main()
