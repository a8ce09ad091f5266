"""Answers are compared by meaning, and none can hang or fell a vote."""

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
from hypothesis import given
from hypothesis import strategies as st

from deepprune import equivalence
from deepprune.answers import equivalent

ROOT = Path(__file__).parents[2]
ENDLESS = "9^{9^{9^{9}}}"


@pytest.fixture(autouse=True, scope="module")
def _hasty_worker():
    """A worker for this module that gives up early, so that the tests are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equivalence, "CPU_LIMIT_S", 0.5)
        equivalence._worker.close()
        yield
        equivalence._worker.close()


def workers() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if equivalence.__file__ in child.cmdline()]


class TestEquivalence:
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ("5", " 5 "),
            ("5", "$5$"),
            ("5", "5."),
            ("1000", "1,000"),
            ("1234567", "1{,}234{,}567"),
            ("1000", r"1\,000"),
            ("12", "012"),
            (r"\frac{1}{2}", "0.5"),
            (r"\frac12", "0.5"),
            (r"\dfrac{1}{2}", r"\frac {1}{2}"),
            ("1/2", r"\tfrac12"),
            ("0.333333", "1/3"),
            (r"6.72 \times 10^{-5}", "0.0000672"),
            (r"\frac{21}{2^2 \cdot 5^7}", "0.0000672"),
            ("x=5", "5"),
            ("-1", "−1"),
            (r"2\sqrt{2}", r"\sqrt{8}"),
            ("(x+1)^2", "x^2+2x+1"),
            (r"\left( 1, 2 \right)", "(1,2)"),
            (r"\{1,2\}", r"\{2, 1\}"),
            ("1,2", "2,1"),
            (r"\pm 2", "2,-2"),
            (r"1 \le x \le 2", "[1,2]"),
            (r"5\text{ cm}", "5"),
            (r"90^\circ", "90"),
            (r"\$5", "5"),
            (r"10\%", "0.1"),
            (r"10\%", "10"),
            (r"\text{east}", "East"),
            (r"\text{(B)}", "B"),
            ("B.", "(B)"),
            (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ],
    )
    def test_the_same(self, a, b):
        assert equivalent(a, b)
        assert equivalent(b, a)

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ("5", "6"),
            ("5", "-5"),
            ("1,000", "1,001"),
            ("(1,000)", "(1000)"),
            ("12", "1 2"),
            (r"\frac{1}{2}", "0.51"),
            ("0.333...", "0.333"),
            ("0.000000672", "0.000000525"),
            (r"6.72 \times 10^{-5}", "0.0000671"),
            ("(1,2)", "(2,1)"),
            ("[0,1)", "[0,1]"),
            ("x", "y"),
            ("x=5", "x=6"),
            ("B", "C"),
            (r"\text{B}", "(C)"),
            ("east", "seat"),
            (r"\text{Yes}", r"\text{No}"),
            ("", "5"),
            ("5", r"\ldots"),
        ],
    )
    def test_different(self, a, b):
        assert not equivalent(a, b)
        assert not equivalent(b, a)

    @given(st.text(alphabet="5,.$\\ {}()ABx", max_size=15))
    def test_an_answer_is_itself(self, answer):
        assert equivalent(answer, answer)

    def test_a_long_answer_is_only_itself(self):
        long = "1+" * 600
        assert equivalent(long + "1", f" {long}1 ")
        assert not equivalent(long + "1", "601")


class TestWorker:
    @pytest.fixture(autouse=True)
    def _unasked(self):
        equivalence._by_algebra.cache_clear()

    @pytest.mark.parametrize("hostile", [ENDLESS, "(" * 400 + "1" + ")" * 400, "\ud800"])
    def test_a_hostile_answer_is_different_and_the_next_question_is_answered(self, hostile):
        assert not equivalent(hostile, "7")
        assert equivalent(r"\frac12", "0.5")
        assert len(workers()) == 1

    def test_too_much_is_logged_and_asked_only_once(self, caplog):
        with caplog.at_level(logging.WARNING, equivalence.__name__):
            assert not equivalent(ENDLESS, "7")
            assert not equivalent("7", ENDLESS)
        assert [record.getMessage() for record in caplog.records] == [
            f"'7' and {ENDLESS!r} count as different: comparing them is too much"
        ]

    def test_its_memory_is_limited(self):
        equivalence._worker._running()
        (worker,) = workers()
        assert worker.rlimit(psutil.RLIMIT_AS)[0] == equivalence.MEMORY_LIMIT_BYTES

    def test_a_killed_worker_is_replaced(self):
        assert equivalent(r"\frac12", "0.5")
        (worker,) = workers()
        os.kill(worker.pid, signal.SIGKILL)
        assert equivalent(r"\frac14", "0.25")
        assert not worker.is_running()

    def test_a_worker_that_hangs_is_given_up(self, monkeypatch):
        monkeypatch.setattr(equivalence, "WALL_LIMIT_S", 0.2)
        equivalence._worker._running()
        (worker,) = workers()
        worker.suspend()
        assert not equivalent(ENDLESS, "7")
        assert not worker.is_running()

    def test_an_interrupted_question_leaves_no_late_reply(self, monkeypatch):
        equivalence._worker._running()

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(equivalence, "_read_line", interrupt)
            with pytest.raises(KeyboardInterrupt):
                equivalent(r"\frac12", "0.5")
        assert not equivalent(r"\frac12", "0.25")

    def test_many_threads_share_one_worker(self):
        pairs = [(rf"\frac{{{n}}}{{4}}", str(n / 4 + n % 2)) for n in range(20)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda pair: equivalent(*pair), pairs)) == [True, False] * 10
        assert len(workers()) == 1

    async def test_inside_an_event_loop_and_from_its_threads(self):
        assert equivalent(r"\frac12", "0.5")
        assert await asyncio.to_thread(equivalent, r"\frac34", "0.75")
        assert not await asyncio.to_thread(equivalent, ENDLESS, "7")

    def test_a_forked_process_has_a_worker_of_its_own(self):
        program = """
import os
from deepprune.equivalence import equivalent
assert equivalent("1/2", "0.5")
child = os.fork()
assert equivalent("3/4", "0.75") and not equivalent("3/4", "0.5")
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert equivalent("1/4", "0.25")
"""
        run_python(program)

    def test_importing_does_not_load_the_algebra_nor_start_it(self):
        program = """
import sys
import deepprune.answers, deepprune.equivalence
assert not {"sympy", "math_verify"} & set(sys.modules)
assert deepprune.answers.equivalent("1,000", "1000")
assert deepprune.equivalence._worker._process is None
assert deepprune.answers.equivalent("1/2", "0.5")
assert not {"sympy", "math_verify"} & set(sys.modules)
"""
        run_python(program)

    def test_a_missing_library_is_an_error_and_not_a_difference(self, monkeypatch, tmp_path):
        (tmp_path / "math_verify.py").write_text("raise ImportError('no math_verify here')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        equivalence._worker.close()
        with pytest.raises(RuntimeError, match="did not start: no math_verify here"):
            equivalent(r"\frac12", "0.5")
        monkeypatch.delenv("PYTHONPATH")
        assert equivalent(r"\frac12", "0.5")

    @pytest.mark.parametrize("end", ["leaves", "is killed while it asks"])
    def test_no_worker_outlives_its_parent(self, end):
        program = f"""
import sys, threading, time
from deepprune import equivalence
equivalence.equivalent("1/2", "0.5")
if {end!r} == "is killed while it asks":
    threading.Thread(target=equivalence.equivalent, args=({ENDLESS!r}, "7"), daemon=True).start()
    time.sleep(0.2)
print(equivalence._worker._process.pid, flush=True)
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
