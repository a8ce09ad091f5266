"""Faults, injected for real: each takes a victim at random and says whom it hit."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.support.nodes.hosts import RAY, Host, Hosts

GENERATORS = {"pool": "generators"}
JUDGES = {"pool": "judges"}


class NoVictim(Exception):
    """There is nothing of the kind at the moment: it is still recovering from the last fault."""


@dataclass
class Scene:
    """What faults act on: hosts of which there are to be so many of each kind."""

    hosts: Hosts
    rng: random.Random
    wanted: Sequence[dict[str, str]] = (GENERATORS, GENERATORS, JUDGES)
    kill_driver: Callable[[], None] | None = None
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """What is to be done at which time to end a fault."""
    _names: Iterator[str] = field(default_factory=lambda: (f"h{i}" for i in range(1000)))

    def fill(self) -> None:
        """Put a new host in place of each one that is gone, as a supervisor of nodes would."""
        for host in list(self.hosts.hosts.values()):
            if host.process.poll() is not None:
                self.hosts.remove(host)
        there = [host.labels for host in self.hosts.hosts.values() if not host.leaving]
        for labels in self.wanted:
            if labels in there:
                there.remove(labels)
            else:
                self.hosts.add(next(self._names), labels, cpus=1)

    def is_full(self) -> bool:
        """Whether all hosts have joined; one that failed to, on a busy machine, is replaced."""
        self.fill()
        return len(ray_nodes()) == 1 + len(self.wanted)

    def end_what_is_due(self, *, all_of_it: bool = False) -> None:
        """Mend and resume what was to last only so long."""
        due = [entry for entry in self.later if all_of_it or entry[0] <= time.monotonic()]
        for entry in due:
            self.later.remove(entry)
            entry[1]()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` when `seconds` have passed."""
        self.later.append((time.monotonic() + seconds, action))

    def host(self, labels: dict[str, str] | None = None) -> Host:
        """A host, at random."""
        known = ray_nodes()
        there = [
            host
            for host in self.hosts.hosts.values()
            if host.labels == (labels or host.labels) and host.address in known
        ]
        return self._any(there)

    def process(self, words: str, labels: dict[str, str] | None = None) -> psutil.Process:
        """A process of some host whose command line holds `words`, at random."""

        def there() -> list[psutil.Process]:
            hosts = self.hosts.hosts.values()
            some = [h.processes(words) for h in hosts if h.labels == (labels or h.labels)]
            return [process for processes in some for process in processes]

        return self._any(patiently(there))

    def process_on_head(self, words: str) -> psutil.Process:
        """A process of the head whose command line holds `words`."""
        return self._any(patiently(lambda: self.hosts.on_head(words)))

    def _any(self, things):
        if not things:
            raise NoVictim
        return self.rng.choice(things)


def patiently(look: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """What is found in the end: Ray renames processes at each call, and some looks miss them."""
    for _ in range(20):
        if found := look():
            return found
        time.sleep(0.05)
    return []


def ray_nodes() -> dict[str, str]:
    """Ids of the nodes that are alive, by address."""
    import ray

    return {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}


def kill_engine(scene: Scene) -> str:
    """kill -9 of a generator's engine process"""
    return _kill(scene.process("EngineCore", GENERATORS))


def kill_generator(scene: Scene) -> str:
    """kill -9 of a generator replica"""
    return _kill(scene.process("ray::ServeReplica:deepprune-generator"))


def kill_judge(scene: Scene) -> str:
    """kill -9 of a judge replica"""
    return _kill(scene.process("ray::ServeReplica:deepprune-judge"))


def kill_coordinator(scene: Scene) -> str:
    """kill -9 of the coordinator"""
    return _kill(scene.process_on_head("ray::Coordinator"))


def kill_controller(scene: Scene) -> str:
    """kill -9 of Serve's controller"""
    return _kill(scene.process_on_head("ray::ServeController"))


def hang_generator(scene: Scene) -> str:
    """SIGSTOP of a generator's engine process"""
    return _stop(scene.process("EngineCore", GENERATORS))


def hang_judge(scene: Scene) -> str:
    """SIGSTOP of a judge's engine process"""
    return _stop(scene.process("EngineCore", JUDGES))


def kill_node(scene: Scene) -> str:
    """a whole node dies"""
    host = scene.host()
    scene.hosts.remove(host)
    return host.name


def preempt(scene: Scene) -> str:
    """a node is drained on notice of its preemption, and is gone at the deadline"""
    host = scene.host(GENERATORS)
    seconds = 20
    drain(scene.hosts, host, seconds)
    scene.after(seconds, lambda: scene.hosts.remove(host))
    return host.name


def drain(hosts: Hosts, host: Host, seconds: int) -> None:
    """Tell Ray that a host will be gone after so many seconds."""
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    node = ["--node-id", ray_nodes()[host.address], "--address", hosts.address]
    deadline = ["--deadline-remaining-seconds", str(seconds)]
    command = [RAY, "drain-node", *node, *reason, *deadline]
    subprocess.run(command, check=True, capture_output=True)
    host.leaving = True


def cut_for_long(scene: Scene) -> str:
    """a node's network is cut for longer than Ray bears"""
    host = scene.host(GENERATORS)
    host.cut()
    scene.after(20, host.mend)
    return host.name


def cut_for_a_moment(scene: Scene) -> str:
    """a node's network is cut for a second"""
    host = scene.host(GENERATORS)
    host.cut()
    scene.after(1, host.mend)
    return host.name


def slow_node(scene: Scene) -> str:
    """a node's network is slow for ten seconds (256 kbit/s)"""
    host = scene.host(GENERATORS)
    host.slow()
    scene.after(10, host.mend)
    return host.name


def kill_driver(scene: Scene) -> str:
    """kill -9 of the driver, which is started again"""
    if scene.kill_driver is None:
        raise NoVictim
    scene.kill_driver()
    return "driver"


ALL = (
    kill_engine,
    kill_generator,
    kill_judge,
    kill_coordinator,
    kill_controller,
    hang_generator,
    hang_judge,
    kill_node,
    preempt,
    cut_for_long,
    cut_for_a_moment,
    slow_node,
)


def _kill(process: psutil.Process) -> str:
    name = process.name()
    with suppress(psutil.NoSuchProcess):
        process.kill()
    return f"{name} {process.pid}"


def _stop(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGSTOP)
    return f"{process.pid}"
