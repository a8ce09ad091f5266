"""End an engine process when its replica ends, even where Ray has died and does not end it.

An orphaned engine would hold its GPU memory until the node restarts.
"""

from __future__ import annotations

import os
import signal
import threading
import time

REPLICA = "DEEPPRUNE_REPLICA"
POLL_S = 1.0


def end_engines_with_me() -> None:
    """Mark this process as the parent of the engines that it starts; call before starting one."""
    os.environ[REPLICA] = str(os.getpid())


def register() -> None:
    """Watch the parent replica. vLLM calls it as a plugin in each of its processes.

    Does nothing outside a replica.
    """
    replica = os.environ.get(REPLICA)
    if replica is not None and int(replica) == os.getppid():
        threading.Thread(target=_watch, args=(int(replica),), daemon=True).start()


def _watch(replica: int) -> None:
    while os.getppid() == replica:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)
