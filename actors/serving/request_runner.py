"""Run one request: admit it, check it, drive it to its vote within its time and token limits.

The request has a task of its own, which outlives the connection: when a client disconnects, the
traces are cancelled and the usage is still counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from actors.channels.pool import REPLICA_GONE, ReplicaPool, await_reply
from actors.driver.live import LiveProblem
from actors.messages import Generators, Judges, PromptFacts, PromptRefused
from actors.serving.admission import Admission
from actors.serving.completion import Solution, chunk
from actors.serving.errors import ApiError, bad_request, internal, unavailable
from actors.serving.event_log import EventLog
from actors.serving.spec import Offer, RequestSpec
from deepprune.config import RunConfig, confidence_window
from deepprune.errors import UserError
from deepprune.events import Command, Event
from deepprune.policies import Policy
from deepprune.policies.first_trace import FirstTrace
from deepprune.session import Outcome

logger = logging.getLogger(__name__)

COUNT_S = 15.0
"""Seconds to wait for a generator to count a prompt before calling another."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, as an ingress replica reaches it.

    `replica` is the handle of the generator's deployment, and `pool` its replicas; None for an
    endpoint.
    """

    config: RunConfig
    offer: Offer
    generators: Generators
    judges: Judges | None
    replica: Any
    pool: ReplicaPool | None
    admission: Admission


class RequestRunner:
    """One request.

    `admitted` is set when the request may start its traces, and holds the error if it may not.
    """

    def __init__(self, request_id: str, owner: str, spec: RequestSpec, model: ServedModel) -> None:
        self.request_id = request_id
        self.owner = owner
        self.spec = spec
        self.created = int(time.time())
        self.stopped_by: str | None = None
        self.live = LiveProblem(
            key=request_id,
            problem=spec.problem,
            policy=spec.policy,
            sampling=spec.sampling,
            generators=model.generators,
            judges=model.judges,
            limits=model.config.limits,
            pairs_per_call=model.config.judge.pairs_per_call if model.config.judge else 1,
            confidence_window=confidence_window(model.config.generator),
            seed=spec.seed,
            share_fairly=True,
            asks_for_value=spec.expects_answer or not spec.ask_first,
            wrap_policy=self._watched,
            on_step=self._step,
        )
        self.event_log = EventLog(self.live)
        loop = asyncio.get_running_loop()
        self.admitted: asyncio.Future[None] = loop.create_future()
        self._model = model
        self._deadline = loop.time() + spec.deadline_s
        self.task = asyncio.create_task(self._run(), name=request_id)
        self.task.add_done_callback(self._ended)

    @property
    def is_admitted(self) -> bool:
        """Whether it was admitted."""
        return self.admitted.done() and self.admitted.exception() is None

    def stop(self, reason: str) -> None:
        """Stop with the vote so far. Before admission it is empty, and nobody gets one who left."""
        if self.task.done() or self.stopped_by is not None or self.live.session.stopped:
            return
        self.stopped_by = reason
        if self.admitted.done():
            self.live.interrupt(reason)
        else:
            self.task.cancel()

    def progress(self) -> dict[str, Any]:
        """Build a progress chunk of the stream."""
        snapshot = self.live.snapshot()
        progress = {
            "traces": snapshot.states,
            "clusters": list(snapshot.clusters),
            "votes": [{"answer": answer, "count": count} for answer, count in snapshot.votes],
            "generated_tokens": snapshot.num_tokens,
            "judge_tokens": snapshot.judge_tokens,
        }
        chunk = self.chunk({})
        return chunk | {"deepprune": {"progress": progress}}

    def chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Build a chunk of the stream before the answer."""
        return chunk(self.request_id, self.created, self.spec.model, delta)

    async def wait_admitted(self) -> None:
        """Wait until the request may start; stop it if the caller is cancelled.

        Raises:
            ApiError: it is refused.
        """
        await self._stop_if_cancelled(asyncio.shield(self.admitted))

    async def solution(self) -> Solution:
        """Wait for the result; stop the request if the caller is cancelled.

        Raises:
            ApiError: the request was refused, or failed.
        """
        await self.wait_admitted()
        await self._stop_if_cancelled(asyncio.wait([self.task]))
        error = self.task.exception()
        if error is None:
            return self.task.result()
        raise error if isinstance(error, ApiError) else internal()

    async def _stop_if_cancelled(self, work: Awaitable[object]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            self.stop("disconnected")
            raise

    async def _run(self) -> Solution:
        async with AsyncExitStack() as turn:
            facts = await self._start(turn)
            self.admitted.set_result(None)
            outcome = await self._vote() if facts else self.live.session.outcome()
        if outcome.ledger.lost_traces and not outcome.ledger.finished_traces:
            raise unavailable("The engines were lost while they worked on this request.")
        return Solution(
            self.request_id,
            self.created,
            self.spec,
            outcome,
            self.live.traces,
            facts.num_tokens if facts else 0,
            self.stopped_by,
            facts is not None and facts.begins_in_thought,
        )

    async def _start(self, turn: AsyncExitStack) -> PromptFacts | None:
        """Wait for a place in the model's queue and check the prompt.

        None if the deadline passed or the request was cancelled before: its vote is empty.

        Raises:
            ApiError: the queue is full, or the model refuses the prompt.
        """
        clock = asyncio.timeout_at(self._deadline)
        try:
            async with clock:
                await turn.enter_async_context(self._model.admission.turn(self.owner))
                facts = await self._check_prompt()
            if asyncio.get_running_loop().time() < self._deadline:
                return facts
            self.stopped_by = "deadline"
        except TimeoutError:
            if not clock.expired():
                raise
            self.stopped_by = "deadline"
        except asyncio.CancelledError:
            if self.stopped_by != "cancelled":
                raise
        self.live.session.interrupt(self.stopped_by)
        return None

    async def _vote(self) -> Outcome:
        """Drive the traces to their vote, or to the vote so far at the deadline.

        Thoughts are closed when an eighth of the time is left.
        """
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_at(self._deadline - self.spec.deadline_s / 8, self.live.close_thoughts),
            loop.call_at(self._deadline, self.stop, "deadline"),
        ]
        try:
            return await self.live.run()
        except UserError as error:
            # The error may have the endpoint's address, which clients must not see.
            logger.warning("%s: %s", self.request_id, error)
            message = "The endpoint that generates for this model refused the request."
            raise ApiError(502, message, type="server_error", code="refused") from None
        finally:
            for timer in timers:
                timer.cancel()

    async def _check_prompt(self) -> PromptFacts:
        """Measure the prompt; nothing is known of it where the generator is an endpoint.

        Raises:
            ApiError: the model refuses the prompt, or its context is too short.
        """
        if self._model.replica is None:
            return PromptFacts(0, 0, begins_in_thought=False)
        try:
            facts = await self._ask_generator()
        except PromptRefused as error:
            message, param = getattr(error, "cause", error).args
            raise bad_request(message, param, "invalid_prompt") from None
        except REPLICA_GONE:
            raise unavailable("No replica of the generator answers.") from None
        room = self.spec.sampling.max_tokens if self.spec.max_tokens_given else 1
        if facts.num_tokens + room > facts.context:
            raise bad_request(
                f"The prompt has {facts.num_tokens} tokens and {room} are to be generated at "
                f"least, but the model's context holds {facts.context}.",
                "messages",
                "context_length_exceeded",
            )
        return facts

    async def _ask_generator(self) -> PromptFacts:
        """Call a generator, again if its reply is lost; the deadline ends the retries."""
        problem = self.spec.problem
        while True:
            try:
                async with asyncio.timeout(COUNT_S):
                    check = self._model.replica.check_prompt
                    facts: PromptFacts = await await_reply(
                        check.remote(
                            problem.chat, problem.prompt_options, self.spec.sampling.json_schema
                        )
                    )
                    return facts
            except TimeoutError:
                logger.warning("%s: no generator counted its prompt in time", self.request_id)

    def _watched(self, policy: Policy) -> Policy:
        """Stop the policy where traces give no answer to compare, unless one was asked for."""
        if self.spec.expects_answer:
            return policy
        return FirstTrace(policy, ask_first=self.spec.ask_first, is_cut=self._is_cut)

    def _is_cut(self, sample: int) -> bool:
        return self.live.traces[sample].finish_reason != "stop"

    def _step(self, event: Event | None, commands: list[Command]) -> None:
        self.event_log.step(event, commands)
        limit = self.spec.max_total_tokens
        if limit is not None and self._num_tokens() >= limit:
            self.stop("max_total_tokens")

    def _num_tokens(self) -> int:
        return sum(trace.num_tokens for trace in self.live.traces.values())

    def _ended(self, task: asyncio.Task[Solution]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ApiError):
            logger.error("%s failed", self.request_id, exc_info=error)
        if not self.admitted.done():
            self.admitted.set_exception(error if isinstance(error, ApiError) else internal())
            self.admitted.exception()  # retrieved, since the caller may have disconnected
