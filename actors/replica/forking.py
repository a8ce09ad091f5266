"""Fork an engine process from its replica, which has already imported vLLM.

In a Ray actor vLLM spawns a new interpreter for its engine, since a fork that used Ray would hang.
An engine of one shard does not use Ray. Importing vLLM again would take longer than the rest of its
start.
"""

from __future__ import annotations

import gc
import multiprocessing.context
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from actors.parent_watchdog import register


@contextmanager
def forked_engines() -> Iterator[None]:
    """Make vLLM fork its engine process within the context.

    The replica must not have used OpenMP threads before: a fork does not inherit them.
    """
    from vllm.v1.engine import utils

    usual = utils.get_mp_context
    utils.get_mp_context = _Context
    try:
        yield
    finally:
        utils.get_mp_context = usual


class _EngineProcess(multiprocessing.context.ForkProcess):
    def run(self) -> None:
        # vLLM does not set the title where Ray has set one before.
        ray._raylet.setproctitle("VLLM::EngineCore")
        gc.freeze()
        gc.enable()
        close_inherited_sockets()
        register()  # vLLM loaded its plugins before the fork, and does not load them again
        super().run()


class _Context(multiprocessing.context.ForkContext):
    Process = _EngineProcess


def close_inherited_sockets() -> None:
    """Replace each socket that the fork inherited with /dev/null.

    Ray takes a replica for alive while its socket is open, and a hung engine would keep it open.
    A closed descriptor could be reused by another file, which the socket's owner might close later;
    a replaced one cannot.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.dup2(null, descriptor)
    os.close(null)
