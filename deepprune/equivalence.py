"""Whether two answers are mathematically equal, by `math-verify`, whatever they contain.

An answer comes from a model and may be hostile: `9^{9^{9^{9}}}` keeps a computer algebra system
busy for ever, in code that no thread can interrupt. The library therefore runs in a process of its
own, which is killed when it takes too long and started again when it is next needed.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import select
import subprocess
import sys
import threading
from functools import lru_cache

logger = logging.getLogger(__name__)

TIME_LIMIT_S = 2.0
START_LIMIT_S = 60.0
MAX_CHARS = 1000
"""Longer answers are equal only when they are the same."""

_GROUPING_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def equivalent(a: str, b: str) -> bool:
    """Whether two answers mean the same (Section 3.1); symmetric, and safe to call anywhere.

    Mostly microseconds; where algebra is needed, milliseconds, and at most `TIME_LIMIT_S` seconds,
    after which the answers count as different.
    """
    a, b = sorted((normalise(a), normalise(b)))
    if a == b:
        return True
    if max(len(a), len(b)) > MAX_CHARS or not (a and b):
        return False
    if _NUMBER.fullmatch(a) and _NUMBER.fullmatch(b):
        return float(a) == float(b) if max(len(a), len(b)) < 16 else a == b
    if len(a) == len(b) == 1 and a.isalpha() and b.isalpha():
        return False  # two different choices
    return _by_algebra(a, b)


def normalise(answer: str) -> str:
    """An answer without what never matters: space around it, dollar signs, grouping commas."""
    text = answer.strip().strip("$").strip().rstrip(".").replace("\\dfrac", "\\frac")
    text = text.replace("\\tfrac", "\\frac").replace("\\!", "").replace("{,}", ",")
    if re.fullmatch(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = _GROUPING_COMMA.sub("", text)
    return " ".join(text.split())


@lru_cache(maxsize=65536)
def _by_algebra(a: str, b: str) -> bool:
    return _worker.ask(a, b)


class _Worker:
    """The other process. One question at a time; a lock makes it safe to share."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, a: str, b: str) -> bool:
        """Whether the library finds `a` and `b` equal within the time limit."""
        with self._lock:
            for _ in range(2):  # a process that was dead already deserves a second chance
                process = self._running()
                reply = self._exchange(process, json.dumps([a, b]).encode() + b"\n")
                if reply is not None:
                    return reply == b"1\n"
                timed_out = process.poll() is None
                self._stop()
                if timed_out:
                    break
        logger.warning("comparing %.80r with %.80r took too long; they count as different", a, b)
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _WORKER_CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            self._read_line(self._process, START_LIMIT_S)
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes) -> bytes | None:
        assert process.stdin is not None
        try:
            process.stdin.write(question)
        except BrokenPipeError:
            return None
        return self._read_line(process, TIME_LIMIT_S)

    @staticmethod
    def _read_line(process: subprocess.Popen[bytes], limit_s: float) -> bytes | None:
        """A line of the worker's, or None when it is silent for too long or gone."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], limit_s)[0]:
            return None
        return process.stdout.readline() or None

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._stop()


_WORKER_CODE = "from deepprune.equivalence import serve; serve()"


def serve() -> None:
    """The worker's main loop: a JSON pair a line in, 1 or 0 a line out."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    import logging as worker_logging

    from math_verify import parse, verify

    worker_logging.disable(worker_logging.CRITICAL)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        a, b = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in json.loads(line))
        same = bool(a and b) and verify(a, b, timeout_seconds=None)
        sys.stdout.write("1\n" if same else "0\n")
        sys.stdout.flush()


_worker = _Worker()
atexit.register(_worker.close)
