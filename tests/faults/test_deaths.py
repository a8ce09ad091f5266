"""Processes die at the worst moment; the vote comes all the same, and the bill adds up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from deepprune.policy_config import ConsConfig
from tests.live.test_system import assert_adds_up

pytestmark = pytest.mark.faults


def processes(words: str) -> list[psutil.Process]:
    """Processes that this one has started, and they, whose command line holds `words`, by age."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if words in " ".join(process.cmdline()):
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def replicas(kind: str) -> list[psutil.Process]:
    return processes(f"ray::ServeReplica:deepprune-{kind}")


def engine_of(replica: psutil.Process) -> psutil.Process:
    """The engine process that a replica started."""
    (engine,) = [
        child
        for child in replica.children(recursive=True)
        if "EngineCore" in " ".join(child.cmdline())
    ]
    return engine


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def wait_until_running(kind: str, count: int) -> None:
    """Return once Serve has brought back what the test before has killed."""
    from ray import serve

    def running() -> bool:
        application = serve.status().applications[f"deepprune-{kind}"]
        states = [deployment.replica_states for deployment in application.deployments.values()]
        return sum(state.get("RUNNING", 0) for state in states) == count

    wait_for(running)


def start_and_wait_for_tokens(system, problems, policy):
    """Start problems and return as soon as traces are well under way."""

    refs = system.start(problems, policy, seed=3)
    wait_for(lambda: any(s.num_tokens > 500 for s in system.coordinator.watch()), 30)
    return refs


def test_the_judge_dies_and_the_vote_comes_all_the_same(live_system, problems):
    import ray

    refs = live_system.start(problems, live_system.config.policy, seed=4)
    wait_for(lambda: any(s.judge_tokens for s in live_system.coordinator.watch()), 30)
    os.kill(replicas("judge")[0].pid, signal.SIGKILL)
    for solved in ray.get(refs, timeout=180):
        assert_adds_up(solved)
        assert solved.outcome.complete
        assert solved.outcome.answer is not None


@pytest.mark.parametrize("victim", ["replica", "engine"])
def test_a_generator_dies_and_its_traces_go_on_elsewhere(live_system, problems, victim):
    import ray

    wait_until_running("generator", 2)
    policy = ConsConfig(num_traces=64)
    replica = replicas("generator")[0]
    engine = engine_of(replica)
    refs = start_and_wait_for_tokens(live_system, problems * 3, policy)
    os.kill((replica if victim == "replica" else engine).pid, signal.SIGKILL)
    results = ray.get(refs, timeout=180)
    for solved in results:
        assert_adds_up(solved)
        assert solved.outcome.complete
        assert solved.outcome.answer is not None
        assert solved.outcome.ledger.finished_traces == 64, "no trace is lost"
        limit = live_system.config.generator.sampling.max_tokens
        assert all(trace.num_tokens <= limit for trace in solved.traces.values())
    reissued = [t for solved in results for t in solved.traces.values() if t.num_reissued]
    assert reissued, "the replica died with traces on it"
    wait_for(lambda: not engine.is_running(), 30)
