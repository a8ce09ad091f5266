"""End an engine when its replica ends, even where Ray has died and does not end it.

An orphaned engine would hold its GPU memory until the node restarts. Each process of an engine
watches the replica, and ends them all: one that is stopped could not end itself.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import psutil

REPLICA = "DEEPPRUNE_REPLICA"
POLL_S = 1.0


def end_engines_with_me() -> None:
    """Mark this process as the replica of the engines that it starts; call before starting one."""
    os.environ[REPLICA] = str(os.getpid())


def register() -> None:
    """Watch the replica. vLLM calls it as a plugin in each of its processes.

    Does nothing outside a replica's engine.
    """
    replica = os.environ.get(REPLICA)
    if replica is None:
        return
    process = psutil.Process()
    while (parent := process.parent()) is not None:
        if parent.pid == int(replica):
            threading.Thread(target=_watch, args=(parent, process), daemon=True).start()
            return
        process = parent


def _watch(replica: psutil.Process, engine: psutil.Process) -> None:
    """Kill the engine, its topmost process last, when the replica has ended."""
    while _is_alive(replica):
        time.sleep(POLL_S)
    me = psutil.Process()
    others = [p for p in engine.children(recursive=True) if p != me] if engine.is_running() else []
    for process in (*others, engine, me):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
