"""Several nodes: who runs where, what the loss of one costs, and what is left in the end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from itertools import count

import pytest

from actors.deploy.app_names import GENERATOR_APP, JUDGE_APP, generator_app_name
from actors.deploy.system import System
from cluster.placement import replica_placement
from deepprune.config import EngineConfig
from deepprune.policy_config import ConsConfig
from tests.live.test_system import assert_adds_up
from tests.nodes.conftest import ManyNodes
from tests.support.engines import num_unfinished
from tests.support.nodes import faults
from tests.support.nodes.faults import GENERATORS
from tests.support.nodes.soak import Injector, table
from tests.support.waiting import HANG_S, wait_for, whole

pytestmark = pytest.mark.faults


class Quiet:
    """A display that shows nothing."""

    def phase(self, text: str) -> None: ...

    def update(self, snapshots: object) -> None: ...


def unfinished_traces(nodes: ManyNodes) -> int:
    """Traces that the generators' engines hold."""
    name = generator_app_name(nodes.config)
    assert name is not None
    return num_unfinished(name)


def replicas_on(host, app: str) -> list:
    return host.processes(f"ray::ServeReplica:{app}")


def under_way(system: ManyNodes, num_tokens: int = 500) -> None:
    """Wait until traces are well under way."""
    watch = system.coordinator.watch
    wait_for(lambda: any(s.num_tokens > num_tokens for s in watch()))


def assert_complete(solved, num_traces: int) -> None:
    assert_adds_up(solved)
    assert solved.outcome.complete
    assert solved.outcome.ledger.finished_traces == num_traces, "no trace is lost"


def test_each_kind_of_replica_is_on_its_own_nodes(many_nodes, problems):
    for host in many_nodes.hosts.hosts.values():
        generates = host.labels == GENERATORS
        assert len(replicas_on(host, GENERATOR_APP)) == generates
        assert len(replicas_on(host, JUDGE_APP)) == (not generates)
        assert not host.processes("ray::Coordinator"), "it is beside the driver"
    for solved in many_nodes.solve(problems, many_nodes.config.policy):
        assert_adds_up(solved)
        assert solved.outcome.complete


def test_only_pipeline_shards_span_nodes(many_nodes):
    """Three hosts of one CPU each, whose engines leave the head's two CPUs free."""
    import ray

    def nodes_of(bundles, strategy: str) -> set[str] | None:
        group = ray.util.placement_group(bundles, strategy)
        try:
            if not group.wait(3):
                return None
            return set(ray.util.placement_group_table(group)["bundles_to_node_id"].values())
        finally:
            ray.util.remove_placement_group(group)

    def placed(**shards: int) -> set[str] | None:
        placement = replica_placement(EngineConfig(model="m", gpus_per_shard=0, **shards))
        return nodes_of(placement.bundle_dicts, placement.strategy)

    many_nodes.hosts.add("extra1", {"pool": "none"}, cpus=2)
    many_nodes.hosts.add("extra2", {"pool": "none"}, cpus=2)
    wait_for(lambda: ray.cluster_resources()["CPU"] >= 9)
    try:
        assert placed(tensor_parallel=4) is None, "no node has four CPUs"
        assert len(placed(tensor_parallel=2)) == 1
        assert len(placed(tensor_parallel=2, pipeline_parallel=2)) > 1
    finally:
        for name in ("extra1", "extra2"):
            many_nodes.hosts.remove(many_nodes.hosts.hosts[name])


def test_the_coordinator_dies_and_what_it_owed_is_asked_again(many_nodes, problems):
    from jobs.sample.run import Task, solve

    policy = ConsConfig(num_traces=64)
    tasks = [Task(problem, policy, seed) for problem in problems for seed in range(3)]
    solving = solve(System(many_nodes.coordinator, many_nodes.config), tasks, Quiet())
    solved = [next(solving)]
    under_way(many_nodes)
    faults.kill_coordinator(many_nodes.scene)
    solved += list(solving)
    assert Counter((s.outcome.problem.problem_id, s.seed) for s in solved) == {
        (task.problem.problem_id, task.seed): 1 for task in tasks
    }
    for one in solved:
        assert_complete(one, 64)


def test_the_coordinator_dies_and_the_engines_let_go_of_its_traces(many_nodes, problems):
    # Hours of work on a slow machine, which would not end by itself while we look.
    asked = many_nodes.start(problems * 3, ConsConfig(num_traces=2048), seed=5)
    under_way(many_nodes)
    wait_for(lambda: unfinished_traces(many_nodes) > 0)
    faults.kill_coordinator(many_nodes.scene)
    wait_for(lambda: unfinished_traces(many_nodes) == 0, seconds=120)
    del asked


def test_a_node_is_preempted_and_its_traces_go_on_elsewhere(many_nodes, problems):
    import ray

    leaving = many_nodes.generators()[0]
    refs = many_nodes.start(problems * 4, ConsConfig(num_traces=128), seed=3)
    under_way(many_nodes)
    # Its traces would end within the grace that a draining node has: they must outlast it.
    (engine,) = faults.patiently(lambda: leaving.processes("EngineCore"))
    engine.send_signal(signal.SIGSTOP)
    faults.drain(many_nodes.hosts, leaving, 12)
    many_nodes.scene.fill()  # the cloud sends another one
    wait_for(lambda: leaving.address not in faults.ray_nodes())
    many_nodes.hosts.remove(leaving)
    results = ray.get(refs, timeout=HANG_S)
    for solved in results:
        assert_complete(solved, 128)
    assert any(t.num_reissued for solved in results for t in solved.traces.values())


def test_a_driver_dies_and_its_engines_end(many_nodes):
    from ray import serve

    driver = f"""
import ray, time
from ray import serve
from actors.deploy.app_reaper import used
ray.init({many_nodes.hosts.address!r}, log_to_driver=False)
with used(["orphan"]):
    serve.run(serve.deployment(type("Orphan", (), {{}})).bind(), name="orphan", route_prefix=None)
    print("up", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    assert "orphan" in serve.status().applications
    process.kill()
    process.wait()
    wait_for(lambda: "orphan" not in serve.status().applications)
    assert whole(), "what others serve stays"


def test_a_short_soak_of_mixed_faults(many_nodes, problems, capsys):
    from jobs.sample.run import Task, solve

    system = System(many_nodes.coordinator, many_nodes.config)
    policies = {64: ConsConfig(num_traces=64), None: many_nodes.config.policy}
    num_results = 0
    kinds = [kind for kind in faults.ALL if kind is not faults.preempt]
    with Injector(many_nodes.scene, kinds, 60, (4, 7), lambda: num_results, whole) as injector:
        for seed in count(100):
            tasks = [Task(problem, p, seed) for problem in problems for p in policies.values()]
            for solved in solve(system, tasks, Quiet()):
                num_results += 1
                assert_adds_up(solved)
                assert solved.outcome.complete
                assert not solved.outcome.ledger.lost_traces
            if not injector.is_alive():
                break
    assert injector.error is None, injector.error
    with capsys.disabled():
        print(f"\n{num_results} results\n{table(injector.injected)}")
    assert len(injector.injected) >= 6
    assert all(fault.result_after_s is not None for fault in injector.injected)
    wait_for(lambda: unfinished_traces(many_nodes) == 0)
