"""Algebra on the expressions in answers, in a process that can be killed.

An answer comes from a model and may be hostile: one short expression can keep a computer algebra
system busy for ever, in code that no thread can interrupt. sympy therefore runs in a process of its
own. That process has the kernel end it when an expression takes too much CPU time or memory, and is
started again when it is next needed. Should its parent die first, it reads the end of its input and
leaves. What an expression came to is remembered, also that it was too much.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

CPU_LIMIT_S = 2.0
"""CPU time for one expression. Not wall time: a busy machine must not change who wins a vote."""
WALL_LIMIT_S = 20.0
"""The last resort, for a worker that gets no CPU at all."""
START_LIMIT_S = 120.0
"""Importing sympy takes a second, and much longer from a cold network disk."""
MEMORY_LIMIT_BYTES = 2 << 30


class TooMuchError(ValueError):
    """An expression took more time or memory than one may."""


@lru_cache(maxsize=65536)
def describe(latex: str) -> tuple[str, str] | None:
    """Evaluate an expression: `("number", value)`, `("function", fingerprint)`, or None.

    None says that the expression cannot be read. The worker's `exact` module says how values are
    written.

    Raises:
        TooMuchError: the expression took more than the limits above.
        RuntimeError: sympy or latex2sympy cannot be started here.
    """
    reply = _worker.ask("describe", latex)
    return None if reply is None else (reply[0], reply[1])


@lru_cache(maxsize=4096)
def describe_matrix(latex: str) -> Any:
    """Evaluate a matrix expression to rows of entries as `describe` gives them, or None.

    Raises:
        TooMuchError: the expression took more than the limits above.
        RuntimeError: sympy or latex2sympy cannot be started here.
    """
    return _worker.ask("describe_matrix", latex)


@lru_cache(maxsize=65536)
def describe_relation(left: str, right: str) -> Any:
    """Describe `left - right` as one side of a relation with zero, or None; see `exact`.

    Raises:
        TooMuchError: the expression took more than the limits above.
        RuntimeError: sympy or latex2sympy cannot be started here.
    """
    return _worker.ask("describe_relation", left, right)


class _Worker:
    """The other process. One question at a time; a lock makes it safe to share."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, *question: str) -> Any:
        """Return what the worker makes of a question, within its limits.

        Raises:
            TooMuchError: the limits were reached.
        """
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # a worker that somebody else killed deserves a second chance
                reply, status = b"", None
                try:
                    reply = self._exchange(self._running(), line)
                finally:
                    if not reply:  # or interrupted: a late reply must not answer the next question
                        status = self._stop()
                if reply:
                    return json.loads(reply)
                if status == -signal.SIGPROF:
                    break
        expression = " ".join(question[1:])
        logger.warning("%.80r is compared as text: its algebra is too much", expression)
        raise TooMuchError(expression)

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._stop()

    def disown(self) -> None:
        """Leave the process to the parent that this one was forked from."""
        self._process, self._lock = None, threading.Lock()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # By path, not as a module: it finds this package wherever it lies.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(CPU_LIMIT_S)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            greeting = _read_line(self._process, START_LIMIT_S)
            if greeting != b"ready\n":
                self._stop()
                raise RuntimeError(
                    f"sympy did not start: {greeting.decode().strip() or 'no reason given'}"
                )
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes) -> bytes:
        assert process.stdin is not None
        try:
            process.stdin.write(question)
        except BrokenPipeError:
            return b""
        return _read_line(process, WALL_LIMIT_S)

    def _stop(self) -> int | None:
        """End the process, reap it and return its exit status."""
        if self._process is None:
            return None
        with self._process as process:
            process.kill()
        self._process = None
        return process.returncode


def _read_line(process: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """A line of the worker's; empty when it is silent for too long, or gone."""
    assert process.stdout is not None
    poll = select.poll()  # unlike select(), at home with the high file numbers of a busy actor
    poll.register(process.stdout, select.POLLIN)
    return process.stdout.readline() if poll.poll(limit_s * 1000) else b""


_worker = _Worker()
atexit.register(_worker.close)
os.register_at_fork(after_in_child=_worker.disown)


def _serve(cpu_limit_s: float) -> None:
    """The worker: a question a line in, what it comes to a line out, both in JSON."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    try:
        from deepprune.answers import exact
    except ImportError as error:
        replies.write(f"{error}\n")
        return
    logging.disable(logging.CRITICAL)
    sys.set_int_max_str_digits(0)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = (
        MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    )
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    operations: dict[str, Callable[..., Any]] = {
        "describe": exact.describe,
        "describe_matrix": exact.describe_matrix,
        "describe_relation": exact.describe_relation,
    }

    replies.write("ready\n")
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)  # SIGPROF, unhandled, ends the process
        try:
            reply = operations[name](*arguments)
        except Exception:  # noqa: BLE001 - sympy and latex2sympy raise anything on hostile input
            reply = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _serve(float(sys.argv[1]))
