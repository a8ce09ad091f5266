"""What the live jobs share: reading options, bringing the system up, solving, being interrupted."""

from __future__ import annotations

import argparse
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster.configs import resolve_config
from deepprune.config import RunConfig, load_config
from deepprune.errors import UserError
from deepprune.policy_config import ConsConfig, PolicyConfig
from deepprune.traces import Problem

if TYPE_CHECKING:
    from actors.coordinator import Solved
    from actors.deploy import System
    from jobs.display import Display
    from jobs.progress import Progress

POLL_S = 0.25
INTERRUPT_S = 10.0
"""How long an interrupted run may take to hand over what it has."""

POLICY_OPTIONS = ("num_traces", "tau", "checkpoint")


@dataclass(frozen=True, slots=True)
class Task:
    """A problem, the policy to solve it with, and the seed if it is not the configuration's."""

    problem: Problem
    policy: PolicyConfig
    seed: int | None = None


def configuration(options: argparse.Namespace) -> RunConfig:
    """The configuration that the command line asks for.

    Raises:
        UserError: it does not validate.
    """
    overrides = _settings(options)
    path = resolve_config(options.config)
    if options.policy is not None and load_config(path, overrides).policy.name != options.policy:
        overrides["policy"] = {"name": options.policy} | {
            key.removeprefix("policy."): value
            for key, value in overrides.items()
            if key.startswith("policy.")
        }
    for name in POLICY_OPTIONS:
        if getattr(options, name) is not None:
            overrides[f"policy.{name}"] = getattr(options, name)
    from actors.preflight import with_calibration

    return with_calibration(load_config(path, overrides))


def generator_configuration(options: argparse.Namespace) -> RunConfig:
    """The configuration that the command line asks for, without judge and policy.

    Raises:
        UserError: it does not validate.
    """
    config = load_config(resolve_config(options.config), _settings(options))
    return config.model_copy(update={"judge": None, "policy": ConsConfig()})


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What `--set` and `--seed` say, by dotted keys."""
    settings = key_values(options.settings)
    if options.seed is not None:
        settings["seed"] = options.seed
    return settings


def key_values(arguments: Sequence[str]) -> dict[str, Any]:
    """What each `--set KEY=VALUE` says, by dotted keys.

    Raises:
        UserError: one is not written like that.
    """
    settings: dict[str, Any] = {}
    for setting in arguments:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set {setting}: write KEY=VALUE, such as policy.wave=64")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {setting}: {value!r} is not a YAML value") from None
    return settings


def run_folder(options: argparse.Namespace, command: str) -> Path:
    """The folder a run writes to."""
    if options.out is not None:
        return Path(options.out)
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
    from actors.preflight import check

    check(config, problems)
    from actors.deploy import connected, running, running_cluster

    address = running_cluster(address)
    display.phase("starting Ray" if address is None else f"connecting to {address}")
    with connected(address):
        display.phase("starting the engines")
        with running(config, cluster_ends_too=address is None) as system:
            yield system


class Interrupted(Exception):
    """The user stopped the run; what there was of it has been handed over."""


def solve(system: System, tasks: Sequence[Task], display: Display) -> Iterator[Solved]:
    """Solve `tasks`, many at a time, and yield each as it is done.

    On Ctrl-C the votes so far are yielded as incomplete outcomes, and Interrupted is raised; a
    second Ctrl-C raises KeyboardInterrupt at once.
    """
    import ray
    from ray.exceptions import RayTaskError

    coordinator, seed = system.coordinator, system.config.seed
    waiting = [
        coordinator.solve.remote(
            task.problem, task.policy, seed if task.seed is None else task.seed
        )
        for task in tasks
    ]
    deadline = math.inf
    with interrupt_as_flag() as interrupted:
        while waiting and time.monotonic() < deadline:
            if interrupted() and deadline == math.inf:
                deadline = time.monotonic() + INTERRUPT_S
                display.phase("interrupted: collecting the votes so far")
                ray.get(coordinator.interrupt.remote("interrupted"))
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
            display.update(ray.get(coordinator.watch.remote()))
            try:
                yield from ray.get(ready)
            except RayTaskError as error:
                if isinstance(error.cause, UserError):  # an endpoint refused the problem, say
                    raise error.cause from None
                raise
        if interrupted():
            raise Interrupted


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
