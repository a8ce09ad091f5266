"""The ingress: a Serve replica that takes requests in and drives their policies.

Each replica is whole in itself: it admits, shares its part of the engine slots, and drives a
`LiveProblem` for each request over the handles of generators and judges. Nothing central stands in
the way, so more replicas take more requests.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatusOverview, ReplicaState

from actors.deploy.preflight import with_calibration
from actors.driver.serve_client import REPLICA_GONE, ServeGenerators, ServeJudges, answered
from actors.generators.endpoint import EndpointGenerators
from actors.messages import Generators
from actors.metrics import Metrics
from actors.serving.admission import Admission
from actors.serving.capacity_shares import share_by_need
from actors.serving.fairness import FairGate, FairGenerators, FairJudges
from actors.serving.http import build_http
from actors.serving.keys import Keyring
from actors.serving.request_history import Entry
from actors.serving.request_log import RequestLog
from actors.serving.request_runner import ServedModel, Solving
from actors.serving.spec import Spec, offer_of
from actors.serving.usage_reports import Mailbox
from deepprune.config import (
    EndpointGeneratorConfig,
    JudgeConfig,
    RunConfig,
    VllmJudgeConfig,
)
from deepprune.serve_config import ServeConfig

logger = logging.getLogger(__name__)

JOURNAL_S = 0.25
CAPACITY_S = 2.0
"""How often to look how many replicas there are."""
QUESTION_CHARS = 2000


@serve.ingress()
class Ingress:
    """One replica. `engines` holds the handles of each model's generator and judge."""

    def __init__(
        self,
        config: ServeConfig,
        engines: dict[str, tuple[DeploymentHandle | None, DeploymentHandle | None]],
        journal: DeploymentHandle,
        census: DeploymentHandle,
        keys: Keyring,
    ) -> None:
        self.config = config
        self.keys = keys
        self.log = RequestLog(config.http.request_log)
        self.journal: Any = journal
        self._census: Any = census
        self.models = {
            name: _served(config, name, generator, judge)
            for name, (generator, judge) in engines.items()
        }
        self.offers = {name: model.offer for name, model in self.models.items()}
        self.num_generators = dict.fromkeys(self.models, 0)
        self._deployments = {
            name: generator.deployment_name if generator is not None else None
            for name, (generator, _) in engines.items()
        }
        self._solving: dict[str, Solving] = {}
        self._news: list[Entry] = []
        self._mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=1000).remote()
        self._metrics = Metrics()
        self.answered = self._metrics.answered
        self.created = int(time.time())
        self._replica = f"{os.getpid()}"
        self._name = uuid.uuid4().hex
        self._loops = [
            asyncio.create_task(loop())
            for loop in (self._follow_capacity, self._take_letters, self._write_journal)
        ]

    def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises.

        Raises:
            RuntimeError: a loop has ended, which none does by itself.
        """
        for loop in self._loops:
            if loop.done():
                raise RuntimeError(f"{loop.get_coro()} has ended") from loop.exception()

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve once the replica stands."""
        return build_http(self)

    def solve(self, spec: Spec, owner: str) -> Solving:
        """Put a request to work."""
        solving = Solving(uuid.uuid4().hex, owner, spec, self.models[spec.model], self._mailbox)
        self._solving[solving.request_id] = solving
        solving.task.add_done_callback(lambda _: self._solved(solving))
        policy = spec.policy
        solving.narrator.tell("start", model=spec.model, policy=policy.name, n=policy.num_traces)
        return solving

    def _solved(self, solving: Solving) -> None:
        del self._solving[solving.request_id]
        if not solving.is_admitted:
            return  # refused: the request's own line in the log says why
        solution = None
        if not solving.task.cancelled() and solving.task.exception() is None:
            solution = solving.task.result()
        fields: dict[str, Any] = {"stop_reason": solving.stopped_by or "failed"}
        if solution is not None:
            result = solution.result
            usage = solution.usage.deepprune
            fields = result.model_dump(exclude={"answer", "votes", "clusters"})
            fields |= usage.model_dump() | {"finish_reason": solution.finish_reason}
            self._metrics.solved(solution.outcome, solving.spec.model)
            self._metrics.served(solving.spec.model, solving.live, result.savings)
        self.log.write(
            "solved",
            request_id=solving.request_id,
            key=solving.owner,
            model=solving.spec.model,
            n=solving.spec.policy.num_traces,
            **fields,
        )
        solving.narrator.end(solution, solving.stopped_by)
        self._write(solving, done=True)

    # --- loops ----------------------------------------------------------------------------------

    async def _take_letters(self) -> None:
        while True:
            for letter in await self._mailbox.take.remote():
                solving = self._solving.get(letter.request_id.partition("/")[0])
                if solving is not None:
                    letter.deliver(solving.live)

    async def _write_journal(self) -> None:
        while True:
            await asyncio.sleep(JOURNAL_S)
            for solving in self._solving.values():
                if solving.is_admitted:
                    self._write(solving, done=False)
            news, self._news = self._news, []
            try:
                if news:
                    await answered(self.journal.write.remote(news))
            except REPLICA_GONE as error:
                logger.warning("the journal is gone, %d entries with it: %s", len(news), error)

    def _write(self, solving: Solving, *, done: bool) -> None:
        events, tokens = solving.narrator.take()
        if not (events or tokens or done):
            return
        summary: dict[str, Any] = {
            "id": solving.request_id,
            "created": solving.created,
            "model": solving.spec.model,
            "policy": solving.spec.policy.name,
            "n": solving.spec.policy.num_traces,
            "question": solving.spec.problem.text[:QUESTION_CHARS],
            "status": "running",
        }
        if done:
            last = events[-1]
            result = last.get("result", {})
            summary |= {"status": last["status"], "stop_reason": last["stop_reason"]}
            summary |= {
                key: result[key]
                for key in ("answer", "vote_share", "savings", "wall_s")
                if key in result
            }
        entry = Entry(solving.request_id, solving.owner, summary, events, tokens, done)
        self._news.append(entry)

    async def _follow_capacity(self) -> None:
        """Keep our share of the engine slots in step with the replicas and the work there are."""
        me = serve.get_replica_context()
        while True:
            try:
                status = await asyncio.to_thread(serve.status)
                asked = {name: m.trace_gate.share.num_asked for name, m in self.models.items()}
                others = await answered(self._census.tell.remote(self._name, asked))
            except (RayError, *REPLICA_GONE) as error:  # what knows it is starting again
                logger.warning("how many replicas there are is not known: %s", error)
            else:
                self._share_out(status.applications[me.app_name].deployments, others)
            await asyncio.sleep(CAPACITY_S)

    def _share_out(
        self, deployments: Mapping[str, DeploymentStatusOverview], others: dict[str, list[int]]
    ) -> None:
        def running(name: str) -> int:
            states = deployments[name].replica_states if name in deployments else {}
            return int(states.get(ReplicaState.RUNNING, 0))

        for name, model in self.models.items():
            deployment = self._deployments[name]
            num_replicas = 1 if deployment is None else running(deployment)
            self.num_generators[name] = num_replicas
            slots = _slots(model.config) * max(1, num_replicas)
            asked = model.trace_gate.share.num_asked
            model.trace_gate.resize(share_by_need(slots, asked, others[name]))
            tags = {"model": name, "replica": self._replica}
            self._metrics.queues(
                tags,
                running=model.admission.num_running,
                waiting=model.admission.num_waiting,
                waiting_traces=model.trace_gate.share.num_waiting,
            )


def _served(
    config: ServeConfig,
    name: str,
    generator: DeploymentHandle | None,
    judge: DeploymentHandle | None,
) -> ServedModel:
    run = with_calibration(config.run(name))
    # The gates let through what the replicas take at once.
    stall_s = run.limits.stall_s
    judges = ServeJudges(judge, stall_s, stall_s) if judge is not None else None
    generators: Generators
    if isinstance(run.generator, EndpointGeneratorConfig):
        generators = EndpointGenerators(run.generator, stall_s)
    else:
        assert generator is not None
        generators = ServeGenerators(generator, stall_s, stall_s)
    trace_gate = FairGate(_slots(run))
    judge_gate = FairGate(_judge_slots(run.judge))
    return ServedModel(
        config=run,
        offer=offer_of(config, name),
        generators=FairGenerators(generators, trace_gate),
        judges=FairJudges(judges, judge_gate) if judges is not None else None,
        replica=generator,
        trace_gate=trace_gate,
        judge_gate=judge_gate,
        admission=Admission(config.models[name].queue),
    )


def _judge_slots(judge: JudgeConfig | None) -> int:
    """Pairs that the replicas of the judge score at the same time."""
    if judge is None:
        return 1
    each = judge.engine.max_num_seqs if isinstance(judge, VllmJudgeConfig) else judge.pairs_per_call
    return each * judge.replicas.max


def _slots(config: RunConfig) -> int:
    """Traces that one replica of the generator decodes at the same time."""
    if isinstance(config.generator, EndpointGeneratorConfig):
        return config.generator.max_concurrency
    return config.generator.engine.max_num_seqs
