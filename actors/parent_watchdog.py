"""An engine process ends with its replica, even where Ray has died too and ends it no more.

An engine that nobody speaks to any more would hold the memory of its GPUs until the node restarts.
"""

from __future__ import annotations

import os
import signal
import threading
import time

REPLICA = "DEEPPRUNE_REPLICA"
LOOK_S = 1.0


def end_engines_with_me() -> None:
    """Called by a replica before it starts an engine."""
    os.environ[REPLICA] = str(os.getpid())


def register() -> None:
    """Called by vLLM, as a plugin, in each of its processes; does nothing outside a replica."""
    replica = os.environ.get(REPLICA)
    if replica is not None and int(replica) == os.getppid():
        threading.Thread(target=_watch, args=(int(replica),), daemon=True).start()


def _watch(replica: int) -> None:
    while os.getppid() == replica:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)
