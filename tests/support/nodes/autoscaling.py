"""Ray's autoscaler over its fake node provider: nodes follow the load.

`python -m tests.support.nodes.autoscaling FOLDER` runs three nodes and draws `elastic.png`. The
nodes are raylets of this machine and share its cores. The autoscaler, Serve, the engines and the
times are real.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from actors.deploy import system as deploy
from actors.deploy.app_names import GENERATOR_APP
from deepprune.config import RunConfig, load_config
from deepprune.policy_config import ConsConfig
from deepprune.traces import Problem
from jobs.sample.run import Task
from miniature.problems import generate_problems
from tests.support.nodes.hosts import Hosts

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The id that Ray's fake provider knows its head by."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE_S = 6
SETTLED = ("finished", "cancelled_after_checkpoint", "cancelled_before_checkpoint", "lost")


@dataclass
class Moment:
    """What there was at one moment. `num_tokens` counts from the start of the run."""

    at_s: float
    nodes: int
    replicas: int
    traces: int
    num_tokens: int


@dataclass
class Timeline:
    """A display that notes how nodes and replicas follow the work."""

    moments: list[Moment] = field(default_factory=list)
    solved_tokens: int = 0
    _started: float = field(default_factory=time.monotonic)

    def phase(self, text: str) -> None: ...

    def update(self, snapshots: Any) -> None:
        """Note where things stand: called a few times a second."""
        self.note(
            sum(n for s in snapshots for state, n in s.states.items() if state not in SETTLED),
            sum(snapshot.num_tokens for snapshot in snapshots),
        )

    def note(self, traces: int = 0, running_tokens: int = 0) -> None:
        """Add a moment."""
        at_s = round(time.monotonic() - self._started, 2)
        tokens = self.solved_tokens + running_tokens
        self.moments.append(Moment(at_s, num_nodes(), num_replicas(), traces, tokens))


def num_nodes() -> int:
    """Worker nodes that are alive."""
    import ray

    return sum(node["Alive"] and node["NodeID"] != HEAD for node in ray.nodes())


def num_replicas() -> int:
    """Generator replicas that run."""
    from ray import serve

    return sum(
        deployment.replica_states.get("RUNNING", 0)
        for name, app in serve.status().applications.items()
        if name.startswith(GENERATOR_APP)
        for deployment in app.deployments.values()
    )


@contextmanager
def autoscaling_cluster(max_nodes: int) -> Iterator[None]:
    """A head whose autoscaler starts and stops nodes of one CPU."""
    import ray

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        hosts = Hosts(Path(folder))
        config = Path(folder) / "autoscaling.json"
        config.write_text(json.dumps(_autoscaling_config(hosts, max_nodes)))
        try:
            hosts.start_head(
                f"--autoscaling-config={config}",
                cpus=1,
                environment={
                    "RAY_FAKE_CLUSTER": "1",
                    "RAY_enable_autoscaler_v2": "1",
                    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                    "RAY_CLOUD_INSTANCE_ID": HEAD,
                    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
                },
            )
            hosts.connect()
            yield
        finally:
            ray.shutdown()
            hosts.stop()


def _autoscaling_config(hosts: Hosts, max_nodes: int) -> dict[str, Any]:
    return {
        "cluster_name": "fake",
        "max_workers": max_nodes,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": IDLE_S / 60,
        "provider": {
            # Ray's `fake_multinode`, by a name that asks for no file which its wheel leaves out.
            "type": "external",
            "module": PROVIDER,
            "gcs_address": hosts.address,
            "head_node_id": HEAD,
            "launch_multiple": True,
        },
        "auth": {},
        # What an external provider has no defaults for.
        **{
            name: []
            for name in (
                "setup_commands",
                "head_setup_commands",
                "worker_setup_commands",
                "initialization_commands",
                "head_start_ray_commands",
                "worker_start_ray_commands",
                "cluster_synced_files",
            )
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "generators": {
                "resources": {"CPU": 1, "object_store_memory": 100_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": max_nodes,
            },
        },
    }


def elastic_config(max_replicas: int, downscale_delay_s: float) -> RunConfig:
    """One engine on the head, and more as traces wait."""
    config = load_config(
        "cluster/laptop.yaml",
        {
            "nodes": {"laptop": max_replicas},
            "generator.replicas": {
                "min": 1,
                "max": max_replicas,
                "downscale_delay_s": downscale_delay_s,
            },
            "generator.engine.max_num_seqs": 48,
            "generator.progress_s": 0.5,
            "policy": {"name": "cons", "num_traces": 64},
        },
    )
    return config.model_copy(update={"judge": None})


def run(
    max_replicas: int, num_problems: int, idle_s: float, downscale_delay_s: float = 4.0
) -> Timeline:
    """Solve problems from a cold start, then watch for `idle_s` how the cluster shrinks."""
    from jobs.sample.run import solve

    config = elastic_config(max_replicas, downscale_delay_s)
    problems: list[Problem] = generate_problems(7, num_problems, split="demo")
    timeline = Timeline()
    with autoscaling_cluster(max_replicas - 1), deploy.running(config) as system:
        timeline._started = time.monotonic()
        tasks = [Task(problem, ConsConfig(num_traces=64)) for problem in problems]
        for solved in solve(system, tasks, timeline):  # type: ignore[arg-type]
            timeline.solved_tokens += solved.outcome.ledger.generated_tokens
            assert solved.outcome.complete and not solved.outcome.ledger.lost_traces
        end = time.monotonic() + idle_s
        while time.monotonic() < end:
            timeline.note()
            if num_nodes() == 0 and num_replicas() == 1:
                break
            time.sleep(0.5)
    return timeline


def draw(moments: list[Moment], path: Path) -> None:
    """Nodes and replicas, traces in flight and tokens a second, along the run."""
    from matplotlib.figure import Figure

    from jobs.render.figures import DPI
    from jobs.render.theme import FAINT, INK, PALETTE, QUIET

    times = [moment.at_s for moment in moments]
    figure = Figure(figsize=(9.5, 6.4), dpi=DPI, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    top.step(times, [m.nodes + 1 for m in moments], where="post", color=PALETTE[0], lw=2)
    top.step(times, [m.replicas for m in moments], where="post", color=PALETTE[4], lw=2, ls="--")
    top.set_ylim(0, max(m.nodes + 1 for m in moments) + 0.6)
    top.yaxis.get_major_locator().set_params(integer=True)
    top.legend(["nodes", "engines that run"], frameon=False, ncols=2, loc="upper right")
    middle.fill_between(times, [m.traces for m in moments], color=PALETTE[1], alpha=0.55, lw=0)
    middle.set_ylim(0)
    rates = tokens_a_second(moments)
    bottom.plot(times, rates, color=PALETTE[2], lw=1.6)
    bottom.set_ylim(0)
    for axes, name in ((top, "nodes"), (middle, "traces in flight"), (bottom, "tokens a second")):
        axes.set_title(name, loc="left", fontsize=11, color=INK)
        axes.grid(axis="y", color=FAINT)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=QUIET)
    bottom.set_xlim(0, times[-1])
    bottom.set_xlabel("seconds", color=QUIET)
    figure.savefig(path)


def tokens_a_second(moments: list[Moment], window_s: float = 5.0) -> list[float]:
    """The rate over at least the last `window_s`, at each moment."""
    # A problem that has just ended is for a moment neither running nor solved.
    tokens = list(accumulate((moment.num_tokens for moment in moments), max))
    rates, first = [], 0
    for last, moment in enumerate(moments):
        while moments[first + 1 : last] and moments[first + 1].at_s <= moment.at_s - window_s:
            first += 1
        span = moment.at_s - moments[first].at_s
        rates.append((tokens[last] - tokens[first]) / span if span else 0.0)
    return rates


def main() -> None:
    """Run it and draw it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.WARNING)
    moments = run(max_replicas=3, num_problems=80, idle_s=90, downscale_delay_s=8.0).moments
    (folder / "elastic.json").write_text(json.dumps([asdict(m) for m in moments]))
    draw(moments, folder / "elastic.png")


if __name__ == "__main__":
    main()
