"""Real processes: a replica that is killed, and the engine it had started."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import entry_points

import psutil
import pytest

from actors.parent_watchdog import register
from tests.support.waiting import wait_for

ENGINE = """
import os, time
from actors.parent_watchdog import register
register()
print(os.getpid(), flush=True)
time.sleep(600)
"""
REPLICA = f"""
import subprocess, sys
from actors.parent_watchdog import end_engines_with_me
if sys.argv[1:]:
    end_engines_with_me()
subprocess.run([sys.executable, "-c", {ENGINE!r}])
"""
FORKING_REPLICA = """
import os, socket, sys, time
from actors.replica.forking import _Context
from actors.parent_watchdog import end_engines_with_me

def run():
    print(os.getpid(), flush=True)
    time.sleep(600)

to_ray = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
end_engines_with_me()
_Context().Process(target=run).start()
time.sleep(600)
"""


def engine_of_a_killed(
    *arguments: str, program: str = REPLICA, hangs: bool = False
) -> psutil.Process:
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as replica:
        assert replica.stdout is not None
        engine = psutil.Process(int(replica.stdout.readline()))
        if hangs:
            engine.suspend()
        replica.send_signal(signal.SIGKILL)
        replica.wait()
        replica.stdout.close()
    return engine


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_an_engine_ends_with_its_replica_and_nobody_elses_does():
    ours, other = engine_of_a_killed("ours"), engine_of_a_killed()
    try:
        wait_for(lambda: ended(ours))
        assert not ended(other)
    finally:
        other.kill()


def test_a_forked_engine_ends_too_and_holds_no_connection_of_its_replica():
    with socket.create_server(("127.0.0.1", 0)) as ray:
        port = str(ray.getsockname()[1])
        engine = engine_of_a_killed(port, program=FORKING_REPLICA, hangs=True)
        connection, _ = ray.accept()
        with connection:
            connection.settimeout(60)
            assert connection.recv(1) == b"", "Ray learns of a replica's death from this"
    engine.resume()
    wait_for(lambda: ended(engine))


def test_vllm_knows_the_plugin():
    (found,) = entry_points(group="vllm.general_plugins", name="deepprune")
    assert found.load() is register


ENGINE_WITH_WORKERS = """
import os, subprocess, sys, time
from actors.parent_watchdog import register
register()
if sys.argv[1:]:
    worker = subprocess.Popen([sys.executable, __file__])
    print(os.getpid(), worker.pid, flush=True)
time.sleep(600)
"""
REPLICA_WITH_WORKERS = """
import subprocess, sys
from actors.parent_watchdog import end_engines_with_me
end_engines_with_me()
subprocess.run([sys.executable, sys.argv[1], "with a worker"])
"""


@pytest.mark.parametrize("hung", [0, 1])
def test_every_process_of_an_engine_ends_with_its_replica(tmp_path, hung):
    """Also one that is stopped, as a hung collective stops a tensor-parallel worker."""
    program = tmp_path / "engine.py"
    program.write_text(ENGINE_WITH_WORKERS)
    command = [sys.executable, "-c", REPLICA_WITH_WORKERS, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as replica:
        assert replica.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in replica.stdout.readline().split()]
        time.sleep(0.5)  # the worker has begun to watch
        processes[hung].suspend()
        replica.kill()
        replica.wait()
        replica.stdout.close()
    try:
        for process in processes:
            wait_for(lambda process=process: ended(process))
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
