"""A request at work: admitted, checked, driven to its vote, bounded in time and tokens.

It runs in a task of its own, which outlives the connection: a client that leaves stops the traces,
and the bill is settled all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from actors.driver.live import LiveProblem
from actors.driver.serve_client import REPLICA_GONE, answered
from actors.messages import Generators, Judges
from actors.serving.admission import Admission
from actors.serving.completion import Solution, chunk
from actors.serving.errors import ApiError, bad_request, internal, overloaded, unavailable
from actors.serving.event_log import Narrator
from actors.serving.fairness import FairGate
from actors.serving.spec import Offer, Spec
from deepprune.config import RunConfig
from deepprune.errors import UserError
from deepprune.events import Command, Event
from deepprune.session import Outcome

logger = logging.getLogger(__name__)

COUNT_S = 15.0
"""How long to wait for a generator to count a prompt before another is asked."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, as an ingress replica reaches it. `replica` is the generator's Serve handle."""

    config: RunConfig
    offer: Offer
    generators: Generators
    judges: Judges | None
    replica: Any
    trace_gate: FairGate
    judge_gate: FairGate
    admission: Admission


class Solving:
    """One request. `admitted` is done when it is at work, or holds why it is not."""

    def __init__(
        self, request_id: str, owner: str, spec: Spec, model: ServedModel, report_to: Any
    ) -> None:
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
            seed=spec.seed,
            report_to=report_to if model.replica is not None else None,
            on_step=self._step,
        )
        self.narrator = Narrator(self.live)
        loop = asyncio.get_running_loop()
        self.admitted: asyncio.Future[None] = loop.create_future()
        self._model = model
        self._deadline = loop.time() + spec.deadline_s
        self._num_prompt_tokens = 0
        self.task = asyncio.create_task(self._run(), name=request_id)
        self.task.add_done_callback(self._ended)

    @property
    def is_admitted(self) -> bool:
        """Whether it is at work, or was."""
        return self.admitted.done() and self.admitted.exception() is None

    def stop(self, reason: str) -> None:
        """End with the vote as it stands; where there is none yet, end."""
        if self.task.done() or self.stopped_by is not None or self.live.session.stopped:
            return
        self.stopped_by = reason
        if self.admitted.done():
            self.live.interrupt(reason)
        else:
            self.task.cancel()

    def progress(self) -> dict[str, Any]:
        """A chunk of a stream that says how far it is."""
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
        """A chunk of a stream before the answer."""
        return chunk(self.request_id, self.created, self.spec.model, delta)

    async def _run(self) -> Solution:
        loop = asyncio.get_running_loop()
        async with self._turn() as clock:
            self._num_prompt_tokens = await self._check_prompt()
            clock.reschedule(None)  # from here on, the deadline ends the vote, not the request
            self.admitted.set_result(None)
            timer = loop.call_at(self._deadline, self.stop, "deadline")
            try:
                outcome = await self.live.run()
            except UserError as error:
                # It may name the other endpoint's address, which is not the client's business.
                logger.warning("%s: %s", self.request_id, error)
                message = "The endpoint that generates for this model refused the request."
                raise ApiError(502, message, type="server_error", code="refused") from None
            finally:
                timer.cancel()
                gates = (self._model.trace_gate, self._model.judge_gate)
                waited_s = [gate.take_waited_s(self.request_id) for gate in gates]
        if outcome.ledger.lost_traces and not outcome.ledger.finished_traces:
            raise unavailable("The engines were lost while they worked on this request.")
        return Solution(
            self.request_id,
            self.created,
            self.spec,
            _without_waiting(outcome, *waited_s),
            self.live.traces,
            self._num_prompt_tokens,
            self.stopped_by,
        )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[asyncio.Timeout]:
        """Our turn in the model's queue, if it comes before the deadline."""
        admission = self._model.admission
        clock = asyncio.timeout_at(self._deadline)
        try:
            async with clock, admission.turn():
                yield clock
        except TimeoutError:
            if not clock.expired():
                raise
            raise overloaded(
                "deadline_s passed while the request waited for its turn.",
                admission.retry_after_s,
            ) from None

    async def _check_prompt(self) -> int:
        """Tokens of the prompt, 0 where the generator does not count them beforehand."""
        if self._model.replica is None:
            return 0
        try:
            counted = await self._count_prompt_tokens()
        except ValueError as error:
            message = getattr(error, "cause", None) or error
            raise bad_request(str(message), "messages", "invalid_prompt") from None
        except REPLICA_GONE:
            raise unavailable("No replica of the generator answers.") from None
        num_tokens, context = counted
        room = self.spec.sampling.max_tokens if self.spec.max_tokens_given else 1
        if num_tokens + room > context:
            raise bad_request(
                f"The prompt has {num_tokens} tokens and {room} are to be generated at least, but "
                f"the model's context holds {context}.",
                "messages",
                "context_length_exceeded",
            )
        return num_tokens

    async def _count_prompt_tokens(self) -> tuple[int, int]:
        """Ask a generator; and again, should its reply be lost. The deadline ends it."""
        while True:
            try:
                async with asyncio.timeout(COUNT_S):
                    call = self._model.replica.num_prompt_tokens.remote(self.spec.problem.chat)
                    counted: tuple[int, int] = await answered(call)
                    return counted
            except TimeoutError:
                logger.warning("%s: nobody has counted its prompt", self.request_id)

    def _step(self, event: Event | None, commands: list[Command]) -> None:
        self.narrator.step(event, commands)
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
            self.admitted.exception()  # whoever asked may have left


def _without_waiting(outcome: Outcome, traces_s: float, judge_s: float) -> Outcome:
    """The outcome, billed for the time in engines but not for that in our own queues."""
    ledger = outcome.ledger
    return replace(
        outcome,
        ledger=replace(
            ledger,
            trace_s=max(0.0, ledger.trace_s - traces_s),
            judge_s=max(0.0, ledger.judge_s - judge_s),
        ),
    )


async def solution_of(solving: Solving) -> Solution:
    """Wait for the result. Whoever stops waiting stops the work.

    Raises:
        ApiError: there is none.
    """
    try:
        await asyncio.shield(solving.admitted)
        await asyncio.wait([solving.task])
    except asyncio.CancelledError:
        solving.stop("disconnected")
        raise
    error = solving.task.exception()
    if error is None:
        return solving.task.result()
    raise error if isinstance(error, ApiError) else internal()
