"""Whether two answers are mathematically equal, by `math-verify`, whatever they contain.

An answer comes from a model and may be hostile: `9^{9^{9^{9}}}` keeps a computer algebra system
busy for ever, in code that no thread can interrupt, and the library's own time limit works in the
main thread only. The library therefore runs in a process of its own. That process has the kernel
end it when a question takes too much CPU time or memory, and is started again when it is next
needed. Should its parent die first, it reads the end of its input and leaves.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
from functools import lru_cache

logger = logging.getLogger(__name__)

CPU_LIMIT_S = 2.0
"""CPU time for one question. Not wall time: a busy machine must not change who wins a vote."""
WALL_LIMIT_S = 20.0
"""The last resort, for a worker that gets no CPU at all."""
START_LIMIT_S = 120.0
"""Importing sympy takes a second, and much longer from a cold network disk."""
MEMORY_LIMIT_BYTES = 2 << 30
MAX_CHARS = 1000
"""Longer answers are equal only when they are the same."""

_IN_DOLLARS = re.compile(r"\${1,2}([^$]*[^$\\])\${1,2}")
_STYLED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_FINAL_PUNCTUATION = re.compile(r"(?<![.\\])[.,;:]$")  # neither "0.33..." nor "5\,"
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:(?:,|\{,\}|\\,)[0-9]{3})+(?:\.[0-9]+)?")
_GROUPING = re.compile(r",|\{,\}|\\,")
_FREE_SPACE = re.compile(r"(?<![A-Za-z0-9\\]) | (?![A-Za-z0-9])")
_SIZE = re.compile(r"\\(?:left|right)(?=[()\[\]|]|\\[{}])")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_CHOICE = re.compile(r"\(?([A-J])\)?[.:]?")
# One letter, or words of which one has four letters or more: "east" and "seat" are not products.
_WORDS = re.compile(r"[A-Za-z]|(?=.*[A-Za-z]{4})[A-Za-z]+(?:[ -][A-Za-z]+)*")


def equivalent(a: str, b: str) -> bool:
    """Whether two answers mean the same (Section 3.1); symmetric, and safe to call anywhere.

    Mostly microseconds; milliseconds where algebra is needed for the first time; a second for the
    first of those; and at most `CPU_LIMIT_S` of CPU time, after which the answers count as
    different. As `math-verify` has it, `x=5` is 5, `5 cm` is 5, and `10%` is both 10 and 0.1: the
    relation is not transitive.

    Raises:
        RuntimeError: `math-verify` cannot be started here.
    """
    a, b = a.strip(), b.strip()
    if a == b:
        return True
    if max(len(a), len(b)) > MAX_CHARS:
        return False
    a, b = sorted((_normalise(a), _normalise(b)))
    if _squeeze(a) == _squeeze(b):
        return True
    if not (a and b):
        return False
    if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b):
        return int(a) == int(b)
    letters = choice_letter(a), choice_letter(b)
    if all(letters):
        return letters[0] == letters[1]
    if _WORDS.fullmatch(a) and _WORDS.fullmatch(b):
        return a.casefold() == b.casefold()
    return _by_algebra(a, b)


def choice_letter(answer: str) -> str | None:
    r"""The letter, A to J, of an answer that is nothing but a choice, such as `\text{(B)}`."""
    match = _CHOICE.fullmatch(_unstyled(answer.strip()))
    return match[1] if match else None


def _normalise(answer: str) -> str:
    """An answer without what never matters; still LaTeX that means the same."""
    dollars = _IN_DOLLARS.fullmatch(answer)
    text = " ".join((dollars[1] if dollars else answer).split())
    text = _unstyled(_FINAL_PUNCTUATION.sub("", text)).replace("\\!", "")
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text).replace("−", "-")
    return _GROUPING.sub("", text) if _GROUPED.fullmatch(text) else text


def _unstyled(text: str) -> str:
    styled = _STYLED.fullmatch(text)
    return styled[1].strip() if styled else text


def _squeeze(text: str) -> str:
    r"""A form only to compare: without spaces that separate no words, `\left` and `\right`."""
    return _SIZE.sub("", _FREE_SPACE.sub("", text))


@lru_cache(maxsize=65536)
def _by_algebra(a: str, b: str) -> bool:
    return _worker.ask(a, b)


class _Worker:
    """The other process. One question at a time; a lock makes it safe to share."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, a: str, b: str) -> bool:
        """Whether the library finds `a` and `b` equal within its limits."""
        question = json.dumps([a, b]).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # a worker that somebody else killed deserves a second chance
                reply, status = b"", None
                try:
                    reply = self._exchange(self._running(), question)
                finally:
                    if not reply:  # or interrupted: a late reply must not answer the next question
                        status = self._stop()
                if reply:
                    return reply == b"1\n"
                if status == -signal.SIGPROF:
                    break
        logger.warning("%.80r and %.80r count as different: comparing them is too much", a, b)
        return False

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._stop()

    def disown(self) -> None:
        """Leave the process to the parent that this one was forked from."""
        self._process, self._lock = None, threading.Lock()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # By path, not as a module: the worker needs none of our packages, wherever they are.
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
                    f"math-verify did not start: {greeting.decode().strip() or 'no reason given'}"
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
    """The worker: a JSON pair a line in, 1 or 0 a line out."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    try:
        from math_verify import parse, verify
        from sympy import Expr, Number  # type: ignore[import-untyped]
    except ImportError as error:
        replies.write(f"{error}\n")
        return
    logging.disable(logging.CRITICAL)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = (
        MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    )
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))

    def same(a: str, b: str) -> bool:
        left, right = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (a, b))
        # The library takes its first argument for the truth, and is not symmetric.
        if not (
            verify(left, right, timeout_seconds=None) or verify(right, left, timeout_seconds=None)
        ):
            return False
        # It looks at six decimals, which do not tell 0.000000672 from 0.000000525.
        x, y = (e.doit().evalf() if isinstance(e, Expr) else e for e in (left[0], right[0]))
        if not (isinstance(x, Number) and isinstance(y, Number)):
            return True
        size = max(abs(x), abs(y))
        return bool(size >= 1e-3 or abs(x - y) <= 1e-5 * size)

    replies.write("ready\n")
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)  # SIGPROF, unhandled, ends the process
        reply = "1\n" if same(*json.loads(line)) else "0\n"
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(reply)


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
