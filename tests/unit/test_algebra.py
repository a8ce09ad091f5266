"""Algebra on answers runs in a process that can be killed, and none can hang or fell a vote."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from deepprune.answers import algebra, equivalent, read_value

ROOT = Path(__file__).parents[2]
ENDLESS = r"\sum_{k=1}^{1000000} \sqrt{k}"


@pytest.fixture(autouse=True, scope="module")
def _hasty_worker():
    """A worker for this module that gives up early, so that the tests are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algebra, "CPU_LIMIT_S", 0.5)
        algebra._worker.close()
        yield
        algebra._worker.close()


def workers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if algebra.__file__ in child.cmdline()]


class TestWorker:
    @pytest.fixture(autouse=True)
    def _unasked(self):
        for cached in (algebra.describe, algebra.describe_relation, read_value):
            cached.cache_clear()

    @pytest.mark.parametrize(
        "hostile", [ENDLESS, "9^{9^{9^{9}}}", "(" * 400 + "1" + ")" * 400, "\ud800"]
    )
    def test_a_hostile_answer_is_different_and_the_next_question_is_answered(self, hostile):
        assert not equivalent(hostile, "7")
        assert equivalent(r"\sqrt4", "2")
        assert len(workers()) == 1

    def test_too_much_is_logged_and_asked_only_once(self, caplog):
        with caplog.at_level(logging.WARNING, algebra.__name__):
            assert not equivalent(ENDLESS, "7")
            assert not equivalent("7", ENDLESS)
        assert [record.getMessage() for record in caplog.records] == [
            f"{ENDLESS!r} is compared as text: its algebra is too much"
        ]

    def test_its_memory_is_limited(self):
        algebra._worker._running()
        (worker,) = workers()
        assert worker.rlimit(psutil.RLIMIT_AS)[0] == algebra.MEMORY_LIMIT_BYTES

    def test_a_killed_worker_is_replaced(self):
        assert equivalent(r"\sqrt4", "2")
        (worker,) = workers()
        os.kill(worker.pid, signal.SIGKILL)
        assert equivalent(r"\sqrt9", "3")
        assert not worker.is_running()

    def test_a_worker_that_hangs_is_given_up(self, monkeypatch):
        monkeypatch.setattr(algebra, "WALL_LIMIT_S", 0.2)
        algebra._worker._running()
        (worker,) = workers()
        worker.suspend()
        assert not equivalent(ENDLESS, "7")
        assert not worker.is_running()

    def test_an_interrupted_question_leaves_no_late_reply(self, monkeypatch):
        algebra._worker._running()

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(algebra, "_read_line", interrupt)
            with pytest.raises(KeyboardInterrupt):
                equivalent(r"\sqrt4", "2")
        assert not equivalent(r"\sqrt4", "3")

    def test_many_threads_share_one_worker(self):
        pairs = [(rf"\sqrt{{{n * n}}}", str(n + n % 2)) for n in range(20)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda pair: equivalent(*pair), pairs)) == [True, False] * 10
        assert len(workers()) == 1

    async def test_inside_an_event_loop_and_from_its_threads(self):
        assert equivalent(r"\sqrt4", "2")
        assert await asyncio.to_thread(equivalent, r"\sqrt9", "3")
        assert not await asyncio.to_thread(equivalent, ENDLESS, "7")

    def test_a_forked_process_has_a_worker_of_its_own(self):
        program = """
import os
from deepprune.answers import equivalent
assert equivalent(r"\\sqrt 4", "2")
child = os.fork()
assert equivalent(r"\\sqrt 9", "3") and not equivalent(r"\\sqrt 9", "4")
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert equivalent(r"\\sqrt 16", "4")
"""
        run_python(program)

    def test_importing_does_not_load_the_algebra_nor_start_it(self):
        program = """
import sys
import deepprune.answers
from deepprune.answers import algebra
assert not {"sympy", "latex2sympy2_extended"} & set(sys.modules)
assert deepprune.answers.equivalent("1,000", "1000")
assert algebra._worker._process is None
assert deepprune.answers.equivalent(r"\\sqrt 4", "2")
assert not {"sympy", "latex2sympy2_extended"} & set(sys.modules)
"""
        run_python(program)

    def test_a_missing_library_is_an_error_and_not_a_difference(self, monkeypatch, tmp_path):
        (tmp_path / "latex2sympy2_extended.py").write_text("raise ImportError('no sympy here')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        algebra._worker.close()
        with pytest.raises(RuntimeError, match="did not start: no sympy here"):
            equivalent(r"\sqrt4", "2")
        monkeypatch.delenv("PYTHONPATH")
        assert equivalent(r"\sqrt4", "2")

    @pytest.mark.parametrize("end", ["leaves", "is killed while it asks"])
    def test_no_worker_outlives_its_parent(self, end):
        program = f"""
import sys, threading, time
from deepprune.answers import algebra, equivalent
equivalent(r"\\sqrt 4", "2")
if {end!r} == "is killed while it asks":
    threading.Thread(target=equivalent, args=({ENDLESS!r}, "7"), daemon=True).start()
    time.sleep(0.2)
print(algebra._worker._process.pid, flush=True)
sys.stdin.read()
"""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=pipe, stdout=pipe, cwd=ROOT
        ) as parent:
            assert parent.stdout is not None
            worker = psutil.Process(int(parent.stdout.readline()))
            if end != "leaves":
                parent.kill()
        gone = threading.Event()
        for _ in range(400):
            if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
                return  # an orphan's zombie is the init process's to reap
            gone.wait(0.05)
        pytest.fail("the worker is still there")


def run_python(program: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
