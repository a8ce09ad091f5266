"""The requests of one ingress replica: start each, log its end, report it to the history."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Annotated, Any

from fastapi import Depends, Request

from actors.channels.pool import REPLICA_GONE, await_reply
from actors.driver.metrics import Metrics
from actors.serving.completion import Solution
from actors.serving.key_limits import KeyLimit
from actors.serving.keys import Keyring
from actors.serving.request_history import HistoryUpdate
from actors.serving.request_log import RequestLog
from actors.serving.request_runner import RequestRunner, ServedModel
from actors.serving.spec import RequestSpec
from deepprune.serve_config import ServeConfig

logger = logging.getLogger(__name__)

HISTORY_S = 0.25
"""Seconds between two updates of the request history."""
WRITE_S = 10.0
"""Seconds to wait for the request history; updates meanwhile are held in memory."""
MEASURE_S = 2.0
"""Seconds between two measurements of the queues."""
QUESTION_CHARS = 2000


class RequestService:
    """Runs requests over `models`.

    `history` is the handle of the `RequestHistory` deployment. `name` is that of this replica.
    """

    def __init__(
        self,
        config: ServeConfig,
        models: dict[str, ServedModel],
        keys: Keyring,
        history: Any,
        name: str,
    ) -> None:
        self.config = config
        self.models = models
        self.offers = {name: model.offer for name, model in models.items()}
        self.keys = keys
        self.history = history
        self.log = RequestLog(config.http.request_log)
        self.metrics = Metrics()
        self.event_streams = KeyLimit(config.http.event_streams_per_key, "event streams are open")
        self.created = int(time.time())
        self._name = name
        self._runners: dict[str, RequestRunner] = {}
        self._updates: list[HistoryUpdate] = []
        self._told: set[str] = set()
        """The requests that the history knows, and that have not ended."""

    def start(self, spec: RequestSpec, owner: str) -> RequestRunner:
        """Start a request."""
        model = self.models[spec.model]
        runner = RequestRunner(uuid.uuid4().hex, owner, spec, model)
        self._runners[runner.request_id] = runner
        runner.task.add_done_callback(lambda _: self._finished(runner))
        policy = spec.policy
        runner.event_log.add("start", model=spec.model, policy=policy.name, n=policy.num_traces)
        return runner

    @property
    def num_generators(self) -> dict[str, int]:
        """Generator replicas that this ingress replica is connected to, by model."""
        return {name: m.pool.num_replicas if m.pool else 1 for name, m in self.models.items()}

    @property
    def running(self) -> list[str]:
        """The ids of the requests that run or wait here."""
        return list(self._runners)

    def cancel(self, request_id: str, owner: str) -> bool:
        """Stop a request with the vote so far; False if the owner runs none of this id here."""
        runner = self._runners.get(request_id)
        if runner is None or runner.owner != owner:
            return False
        self._stop(request_id)
        return True

    def _stop(self, request_id: str) -> None:
        runner = self._runners.get(request_id)
        if runner is not None:
            runner.stop("cancelled")

    async def write_history(self) -> None:
        """Send the history what is new, and stop what it says is cancelled, for ever."""
        while True:
            await asyncio.sleep(HISTORY_S)
            for runner in self._runners.values():
                self._add_update(runner, done=False)
            updates, self._updates = self._updates, []
            running = self.running
            try:
                if updates or running:
                    write = self.history.write.remote(updates, running)
                    async with asyncio.timeout(WRITE_S):
                        for request_id in await await_reply(write):
                            self._stop(request_id)
            except (TimeoutError, *REPLICA_GONE) as error:
                logger.warning(
                    "the request history does not answer: %d updates lost: %r", len(updates), error
                )

    async def measure_queues(self) -> None:
        """Connect to the engines, and set the gauges of the queues for ever."""
        for model in self.models.values():
            if model.pool is not None:
                model.pool.start()
        while True:
            for name, model in self.models.items():
                self.metrics.queues(
                    {"model": name, "replica": self._name},
                    running=model.admission.num_running,
                    waiting=model.admission.num_waiting,
                    waiting_traces=model.pool.num_waiting if model.pool else 0,
                )
            await asyncio.sleep(MEASURE_S)

    def _finished(self, runner: RequestRunner) -> None:
        del self._runners[runner.request_id]
        if not runner.is_admitted:  # refused: the log line of the HTTP request has the reason
            if runner.request_id in self._told:
                runner.event_log.end(None, runner.stopped_by or "refused")
                self._add_update(runner, done=True)
            return
        solution = None
        if not runner.task.cancelled() and runner.task.exception() is None:
            solution = runner.task.result()
            self._count(runner, solution)
        self.log.write(
            "solved",
            request_id=runner.request_id,
            key=runner.owner,
            model=runner.spec.model,
            n=runner.spec.policy.num_traces,
            **_log_fields(runner, solution),
        )
        runner.event_log.end(solution, runner.stopped_by)
        self._add_update(runner, done=True)

    def _count(self, runner: RequestRunner, solution: Solution) -> None:
        model = runner.spec.model
        self.metrics.solved(solution.outcome, model)
        self.metrics.served(model, runner.live, solution.result.savings)

    def _add_update(self, runner: RequestRunner, *, done: bool) -> None:
        events, tokens = runner.event_log.take()
        if not (events or tokens or done):
            return
        summary: dict[str, Any] = {
            "id": runner.request_id,
            "created": runner.created,
            "model": runner.spec.model,
            "policy": runner.spec.policy.name,
            "n": runner.spec.policy.num_traces,
            "question": runner.spec.problem.text[:QUESTION_CHARS],
            "status": "running" if runner.is_admitted else "queued",
        }
        self._told.add(runner.request_id)
        if done:
            self._told.discard(runner.request_id)
            end = events[-1]
            result = end.get("result", {})
            summary |= {"status": end["status"], "stop_reason": end["stop_reason"]}
            shown = ("answer", "vote_share", "savings", "wall_s")
            summary |= {key: result[key] for key in shown if key in result}
        self._updates.append(
            HistoryUpdate(runner.request_id, runner.owner, summary, events, tokens, done)
        )


def _of_app(request: Request) -> RequestService:
    service: RequestService = request.app.state.service
    return service


Service = Annotated[RequestService, Depends(_of_app)]
"""The service of the app that a route belongs to."""


def _log_fields(runner: RequestRunner, solution: Solution | None) -> dict[str, Any]:
    if solution is None:
        return {"stop_reason": runner.stopped_by or "failed"}
    return (
        solution.result.model_dump(exclude={"answer", "votes", "clusters"})
        | solution.usage.deepprune.model_dump()
        | {"finish_reason": solution.finish_reason}
    )
