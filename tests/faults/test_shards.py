"""A shard of an engine hangs: all processes of the engine end, and its traces go on elsewhere."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from actors.deploy.system import running
from cluster.configs import resolve_config
from deepprune.config import load_config
from tests.live.test_system import assert_adds_up
from tests.support.processes import started
from tests.support.systems import Driven
from tests.support.waiting import HANG_S, until_hit, wait_for

pytestmark = pytest.mark.faults

SETTINGS = {
    "judge": None,
    "policy": {"name": "cons", "num_traces": 64},
    "generator.engine.tensor_parallel": 2,
    "limits.stall_s": 10,
}


def processes(title: str) -> list[psutil.Process]:
    return [one.process for one in started() if title in one.title]


@pytest.mark.usefixtures("bare_cluster")
def test_a_stopped_shard_takes_its_whole_engine_along(problems):
    import ray

    config = load_config(resolve_config("laptop"), SETTINGS)

    def stop_at_work() -> bool | None:
        wait_for(lambda: len(processes("VLLM::Worker_TP")) == 2)
        engine = processes("VLLM::")
        refs = driven.start(problems, config.policy, seed=3)
        watch = driven.coordinator.watch
        wait_for(lambda: any(live.num_tokens > 500 for live in watch()) or not watch())
        os.kill(processes("VLLM::Worker_TP1")[0].pid, signal.SIGSTOP)
        solved = ray.get(refs, timeout=HANG_S)
        for one in solved:
            assert_adds_up(one)
            assert one.outcome.ledger.finished_traces == 64, "no trace is lost"
        wait_for(lambda: not any(process.is_running() for process in engine))
        return any(t.num_reissued for one in solved for t in one.traces.values()) or None

    with running(config) as system:
        driven = Driven(system.coordinator, config)
        until_hit(stop_at_work)
