"""An engine process that is a fork of its replica, which has imported all that it needs.

In a Ray actor vLLM starts a new interpreter for its engine, since a fork that used Ray would hang.
An engine of one shard does not use Ray, and the second import of vLLM takes longer than the rest of
its start.
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
    """Within it, vLLM forks the process of its engine. The replica must not have used threads of
    OpenMP before, which a fork does not have.
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
        # vLLM's own way does nothing where Ray has set a title before.
        ray._raylet.setproctitle("VLLM::EngineCore")
        gc.freeze()
        gc.enable()
        let_go_of_sockets()
        register()  # vLLM's plugins are loaded already, and are not loaded again
        super().run()


class _Context(multiprocessing.context.ForkContext):
    Process = _EngineProcess


def let_go_of_sockets() -> None:
    """Put nothing in the place of each socket that a fork has inherited.

    Ray takes a replica for alive as long as its socket is open, and an engine that hangs would keep
    it open. Closed, their numbers would be given to others, which the objects that own them might
    close later.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # that of the folder itself is closed by now
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.dup2(nothing, descriptor)
    os.close(nothing)
