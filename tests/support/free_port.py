"""Ports that nobody uses."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port outside of the range that connections and Ray's own servers take."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 100 * count):
        with socket.socket() as unused, suppress(OSError):
            unused.bind(("127.0.0.1", port))
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free port")
