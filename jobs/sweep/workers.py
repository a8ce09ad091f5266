"""Processes that work through a list: those of this machine, or of a Ray cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

from deepprune.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Processes that apply a function to items."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """The place of each item and its result, as they come.

        Raises what the function raises; UserError if a process dies.
        """
        ...


def results(
    workers: Workers, function: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """The result for each item, in their order."""
    by_place = dict(workers.run(function, items))
    return [by_place[place] for place in range(len(items))]


@contextmanager
def workers_at(address: str | None) -> Iterator[Workers]:
    """The workers of the Ray cluster at `address`, or of this machine.

    Raises:
        UserError: nothing answers at `address`.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        yield LocalWorkers()
        return
    from actors.deploy.connection import connected

    with connected(address):
        yield RayWorkers()


class LocalWorkers:
    """A process for each CPU, forked when the items are there: none is copied to it."""

    def __init__(self, num_workers: int | None = None) -> None:
        self._num_workers = num_workers or len(os.sched_getaffinity(0))

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """See `Workers`."""
        size = min(self._num_workers, len(items))
        if size <= 1:
            yield from ((place, function(item)) for place, item in enumerate(items))
            return
        _Forked.function, _Forked.items = function, items
        pool = ProcessPoolExecutor(size, get_context("fork"), initializer=_leave_ctrl_c_to_parent)
        try:
            places = {pool.submit(_apply, place): place for place in range(len(items))}
            for future in as_completed(places):
                yield places[future], future.result()
        except BrokenProcessPool:
            raise UserError("a process died: is memory short? Run it again to go on") from None
        finally:
            pool.shutdown(cancel_futures=True)


class RayWorkers:
    """A task for each item, as many at a time as the connected cluster has CPUs."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """See `Workers`."""
        import ray
        from ray.exceptions import RayTaskError

        task: Any = ray.remote(_call)
        slots = int(ray.cluster_resources().get("CPU", 1)) + 1
        waiting = iter(enumerate(items))
        places: dict[Any, int] = {}
        try:
            while True:
                while len(places) < slots and (following := next(waiting, None)) is not None:
                    places[task.remote(function, following[1])] = following[0]
                if not places:
                    return
                ready, _ = ray.wait(list(places), num_returns=1)
                for reference in ready:
                    yield places.pop(reference), ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


class _Forked:
    """What forked processes find in their copy of this process's memory."""

    function: Callable[[Any], Any]
    items: Sequence[Any]


def _apply(place: int) -> Any:
    return _Forked.function(_Forked.items[place])


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
