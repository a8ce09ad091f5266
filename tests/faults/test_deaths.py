"""Processes die at the worst moment; the vote comes all the same, and the bill adds up."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from actors.deploy.app_names import generator_app_name, judge_app_name
from deepprune.policy_config import ConsConfig
from tests.live.test_system import assert_adds_up
from tests.support.engines import num_running
from tests.support.processes import started
from tests.support.waiting import HANG_S, until_hit, wait_for

pytestmark = pytest.mark.faults


def apps(system) -> tuple[str, str]:
    """The applications of the system's generators and judges; others may run beside them."""
    generator, judge = generator_app_name(system.config), judge_app_name(system.config)
    assert generator is not None and judge is not None
    return generator, judge


def replicas(app: str) -> list[psutil.Process]:
    return [one.process for one in started() if f"ray::ServeReplica:{app}" in one.title]


def engines(system) -> dict[psutil.Process, psutil.Process]:
    """The engine process of each generator replica that has one, oldest replica first.

    A replica that starts has none yet, and one whose engine has died none any more.
    """
    found = {one.parent: one.process for one in started() if "EngineCore" in one.title}
    generators = replicas(apps(system)[0])
    return {replica: found[replica.pid] for replica in generators if replica.pid in found}


def a_whole_system(system) -> dict[psutil.Process, psutil.Process]:
    """Waits until two generators and a judge serve; the generators' replicas and engines."""
    from ray import serve

    def is_whole() -> bool:
        running = tuple(map(num_running, apps(system)))
        return running == (2, 1) and len(engines(system)) == 2

    try:
        wait_for(is_whole, every=0.5)
    except AssertionError:
        what = [f"{one.process.pid} of {one.parent}: {one.title[:120]}" for one in started()]
        raise AssertionError("\n".join([str(serve.status()), *what])) from None
    return engines(system)


@pytest.mark.core
def test_a_judge_and_an_engine_die_and_the_votes_come_all_the_same(live_system, problems):
    import ray

    watch = live_system.coordinator.watch

    def kill_at_work() -> bool | None:
        replica, engine = next(iter(a_whole_system(live_system).items()))
        # Half of the problems that may be in flight, so that both policies are at work.
        judging = live_system.start(problems[:2], live_system.config.policy, seed=4)
        voting = live_system.start(problems * 3, ConsConfig(num_traces=64), seed=3)
        wait_for(lambda: any(s.judge_tokens for s in watch()) or not watch())
        for victim in (replicas(apps(live_system)[1])[0], engine):
            os.kill(victim.pid, signal.SIGKILL)
        judged, voted = ray.get(judging, timeout=HANG_S), ray.get(voting, timeout=HANG_S)
        for solved in judged:
            assert_adds_up(solved)
            assert solved.outcome.complete
            assert solved.outcome.answer is not None
        assert_none_is_lost(live_system, voted)
        wait_for(lambda: not replica.is_running())
        return some_began_anew(judged + voted)

    until_hit(kill_at_work)


@pytest.mark.core
def test_the_last_generator_dies_and_its_traces_wait_for_another(live_system, problems):
    import ray

    watch = live_system.coordinator.watch

    def kill_at_work() -> bool | None:
        # Serve is still about to bring back what the test before has killed.
        wait_for(lambda: engines(live_system))
        replica, engine = next(iter(engines(live_system).items()))
        refs = live_system.start(problems * 3, ConsConfig(num_traces=64), seed=3)
        wait_for(lambda: any(s.num_tokens > 500 for s in watch()) or not watch())
        os.kill(replica.pid, signal.SIGKILL)
        voted = ray.get(refs, timeout=HANG_S)
        assert_none_is_lost(live_system, voted)
        wait_for(lambda: not engine.is_running())
        return some_began_anew(voted)

    until_hit(kill_at_work)


def test_an_engine_that_dies_idle_takes_its_replica_along(live_system):
    replica, engine = next(iter(a_whole_system(live_system).items()))
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(lambda: not replica.is_running())


def assert_none_is_lost(system, results) -> None:
    """Every trace of the vote ended by itself, and is no longer than it may be."""
    for solved in results:
        assert_adds_up(solved)
        assert solved.outcome.complete
        assert solved.outcome.answer is not None
        assert solved.outcome.ledger.finished_traces == 64, "no trace is lost"
        limit = system.config.generator.sampling.max_tokens
        assert all(trace.num_tokens <= limit for trace in solved.traces.values())


def some_began_anew(results) -> bool | None:
    """Whether the engine died with traces on it; None where all had ended before."""
    return any(t.num_reissued for solved in results for t in solved.traces.values()) or None
