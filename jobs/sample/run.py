"""Shared by the live jobs: options, the system of a run, solving, interrupts."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.configs import resolve_config
from deepprune.config import RunConfig, load_config
from deepprune.errors import UserError
from deepprune.policy_config import ConsConfig, PolicyConfig, renamed
from deepprune.traces import Problem

if TYPE_CHECKING:
    from actors.deploy.system import System
    from actors.driver.coordinator import Solved
    from deepprune.promise import Terms
    from jobs.render.progress import Progress
    from jobs.sample.display import Display

logger = logging.getLogger(__name__)

POLL_S = 0.25
INTERRUPT_S = 10.0
"""How long an interrupted run may take to hand over what it has."""

WAITING_PER_SLOT = 4
"""Problems handed to the coordinators for each that may be in flight: no shard runs out of them."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options that all live commands share.

    `config` is a file or a shipped configuration's name, `policy` replaces its policy, `overrides`
    are values by dotted keys; without `address`, Ray starts here.
    """

    config: str = "laptop"
    policy: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    address: str | None = None
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A problem, the policy to solve it with, and the seed if it is not the configuration's.

    `terms` are those of a sweep; without them the problem is by itself.
    """

    problem: Problem
    policy: PolicyConfig
    seed: int | None = None
    terms: Terms | None = None


def configuration(options: RunOptions) -> RunConfig:
    """The configuration that the command line asks for.

    Raises:
        UserError: it does not validate.
    """
    overrides = options.overrides
    path = resolve_config(options.config)
    if options.policy is not None:
        overrides = {"policy": renamed(load_config(path).policy, options.policy)} | overrides
    from actors.deploy.preflight import with_calibration

    return with_calibration(load_config(path, overrides))


def generator_configuration(options: RunOptions) -> RunConfig:
    """The configuration that the command line asks for, without judge and policy.

    Raises:
        UserError: it does not validate.
    """
    config = load_config(resolve_config(options.config), options.overrides)
    return config.model_copy(update={"judge": None, "policy": ConsConfig()})


def run_folder(options: RunOptions, command: str) -> Path:
    """The folder a run writes to."""
    if options.out is not None:
        return options.out
    return Path("runs") / f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def system_for(
    config: RunConfig, problems: Sequence[Problem], address: str | None, display: Display | Progress
) -> Iterator[System]:
    """Check, connect, start engines; take everything down at the end.

    Raises:
        UserError: something in the configuration, the problems or the cluster cannot work.
    """
    display.phase("checking the configuration")
    from actors.deploy.preflight import check

    check(config, problems)
    from actors.deploy.connection import connected, running_cluster

    address = running_cluster(address)
    display.phase("starting Ray" if address is None else f"connecting to {address}")
    # Import Ray Serve while Ray starts: each takes a second or more.
    threading.Thread(target=import_module, args=["actors.deploy.system"]).start()
    with connected(address):
        from actors.deploy.system import running

        display.phase("starting the engines")
        with running(config, cluster_ends_too=address is None) as system:
            yield system


class Interrupted(KeyboardInterrupt):
    """The user stopped the run, and its results so far are kept; the message says where."""


def solve(system: System, tasks: Sequence[Task], display: Display) -> Iterator[Solved]:
    """Solve `tasks`, many at a time, and yield each as it is done.

    A deque of tasks may grow while they are solved. When the coordinator dies, what it had not
    answered yet is asked of it again. On Ctrl-C the votes so far are yielded as incomplete
    outcomes, and Interrupted is raised; a second Ctrl-C raises KeyboardInterrupt at once.

    Raises:
        UserError: an endpoint refuses a problem, or the coordinator dies again and again.
    """
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    coordinator, config = system.coordinator, system.config
    deaths = CoordinatorDeaths(system)
    to_come = tasks if isinstance(tasks, deque) else deque(tasks)
    running: dict[Any, Task] = {}
    lost: list[Task] = []
    most = WAITING_PER_SLOT * config.limits.max_problems

    def taken(ready: Sequence[Any]) -> Iterator[Solved]:
        """What has come in; tasks whose coordinator died are `lost`."""
        for reference in ready:
            task = running.pop(reference)
            try:
                solved: Solved = ray.get(reference)
            except RayActorError:
                lost.append(task)
            except RayTaskError as error:
                if isinstance(error.cause, UserError):  # an endpoint refused the problem, say
                    raise error.cause from None
                raise
            else:
                deaths.nothing_since = 0
                yield solved

    deadline = math.inf
    with interrupt_as_flag() as interrupted:
        while (to_come or running) and time.monotonic() < deadline:
            while to_come and len(running) < most and not interrupted():
                task = to_come.popleft()
                seed = config.seed if task.seed is None else task.seed
                running[coordinator.solve(task.problem, task.policy, seed, task.terms)] = task
            if interrupted():
                to_come.clear()
            if interrupted() and deadline == math.inf:
                deadline = time.monotonic() + INTERRUPT_S
                display.phase("interrupted: collecting the votes so far")
                coordinator.interrupt("interrupted")
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=POLL_S)
            yield from taken(ready)
            if lost:
                deaths.wait_until_it_is_back()
                if running:  # what else the dead one had in hand has failed by now
                    ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
                    yield from taken(ready)
                to_come.extendleft(reversed(lost))
                lost.clear()
            with suppress(RayActorError):
                display.update(coordinator.watch())
        if interrupted():
            raise Interrupted


class CoordinatorDeaths:
    """Bears with a coordinator that dies, which Ray restarts, but not with one that cannot live."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.nothing_since = 0
        """Deaths since it last gave a result; the caller sets it to 0 at each."""

    def wait_until_it_is_back(self) -> None:
        """Return when the coordinator answers again.

        Raises:
            UserError: it died `limits.retries` times without a result, or does not come back.
        """
        from ray.exceptions import ActorUnavailableError, RayActorError

        limits = self._system.config.limits
        self.nothing_since += 1
        logger.warning("the coordinator died; what it had not finished begins again")
        deadline = time.monotonic() + limits.start_s
        try:
            while self.nothing_since <= limits.retries and time.monotonic() < deadline:
                with suppress(ActorUnavailableError):
                    self._system.coordinator.watch()
                    return
                time.sleep(POLL_S)
        except RayActorError:
            pass
        raise UserError(
            "the cluster lost the process that drives the traces, and it does not come back; what "
            "was written is safe: run the same command again to go on"
        )


def end_on_signal() -> threading.Event:
    """An event that SIGINT and SIGTERM set from now on."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended


@contextmanager
def interrupt_as_flag() -> Iterator[Callable[[], bool]]:
    """Note a first Ctrl-C instead of raising it wherever the program is; a second one raises."""
    noted = threading.Event()

    def note(*_: object) -> None:
        noted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
