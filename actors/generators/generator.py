"""The generator: a Serve replica around one vLLM engine, one engine request per trace.

It detects checkpoints beside the engine, so that few updates travel: one at the checkpoint, one at
the end, and one about every second in between.
"""

from __future__ import annotations

import asyncio
<<<<<<< HEAD
from collections.abc import AsyncIterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from actors.channels import server
from actors.channels.replica import ChannelReplica
from actors.generators.detokenizer import Detokenizer
from actors.generators.trace_work import TraceWork
from actors.messages import TraceRequest
=======
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from actors.generators.confidence import ConfidenceMeter
from actors.generators.detokenizer import Decoder, Detokenizer
from actors.generators.prompts import Prompts
from actors.messages import PromptFacts, TraceRequest, TraceUpdate
from actors.replica.caller_watch import CallerWatch
>>>>>>> main
from actors.replica.engine import check_engine, exit_replica, start_engine
from actors.replica.stall_detector import StallDetector
<<<<<<< HEAD
from actors.tokenizer import load_tokenizer, prompt_token_ids
=======
from actors.tokenizer import load_tokenizer
from deepprune.checkpoints import CheckpointDetector, CheckpointSpec, detector
>>>>>>> main
from deepprune.config import VllmGeneratorConfig
from deepprune.traces import Message, PromptOptions

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput


class Generator(ChannelReplica):
    """One replica. Drivers send traces on their channels."""

    def __init__(
        self, config: VllmGeneratorConfig, executor_backend: str | None, stall_s: float
    ) -> None:
        super().__init__(config.engine.max_num_seqs, stall_s)
        self._config = config
        self._stall_detector = StallDetector(stall_s)
        self._engine = start_engine(config.engine, executor_backend)
        tokenizer = load_tokenizer(config.engine.tokenizer)
        self._detokenizer = Detokenizer(tokenizer)
        self._prompts = Prompts(
            tokenizer,
            int(self._engine.model_config.max_model_len),
            config.chat_template_kwargs,
            config.chat_template_date,
        )
<<<<<<< HEAD
        # All traces of a problem share its prompt.
        self._prompt = lru_cache(maxsize=64)(self._encode)
        self._replica = server.replica_name()
        self._to_abort: list[str] = []
        self._aborting: asyncio.Task[None] | None = None
=======
>>>>>>> main

    async def check_health(self) -> None:
        """Exit the replica if its engine failed. Called by Serve, which then replaces it."""
        await check_engine(self._engine, self._stall_detector)

    async def num_unfinished(self) -> int:
        """Count the requests that the engine holds."""
        return int(self._engine.output_processor.get_num_unfinished_requests())

    async def check_prompt(self, chat: tuple[Message, ...], options: PromptOptions) -> PromptFacts:
        """Measure a prompt.

        Raises:
            PromptRefused: the model cannot honour it.
        """
        # Not on the engine's event loop: the prompt may be far too long.
        return await asyncio.to_thread(self._prompts.check, chat, options)

<<<<<<< HEAD
    def _open(self, request: TraceRequest) -> TraceWork:
        """Make the work of a trace."""
        prompt = [*self._prompt(request.chat), *request.prefix_token_ids]
        return TraceWork(
            request,
            self._config,
            self._detokenizer.decoder(prompt),
            self._replica,
            partial(self._generate, request, prompt),
            partial(self._abort, request.request_id),
        )
=======
    async def generate(self, request: TraceRequest) -> AsyncIterator[TraceUpdate]:
        """Generate one trace, as `Generators.stream` describes."""
        encoded = self._prompts.encode(request.chat, request.prompt_options)
        prompt = [*encoded, *request.prefix_token_ids]
        trace = _Trace(request, self._config, self._detokenizer.decoder(prompt))
        if trace.num_tokens >= request.sampling.max_tokens:  # its replica died on its last token
            yield TraceUpdate("", (), trace.num_tokens, finish_reason="length")
            return
        # A request may wait in the engine, at its start or when memory runs out.
        async with aclosing(
            with_heartbeats(self._updates(request, prompt, trace), self._stall_s)
        ) as news:
            async for update in news:
                yield update or trace.heartbeat()
>>>>>>> main

    async def _generate(
        self, request: TraceRequest, prompt: list[int], params: SamplingParams
    ) -> AsyncIterator[RequestOutput]:
        """Yield the outputs of the engine's request."""
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            with self._stall_detector.request():
                async for output in self._engine.generate(
                    tokens_input(prompt), params, request.request_id, priority=request.priority
                ):
                    self._stall_detector.record_output()
                    yield output
        except EngineDeadError:
            exit_replica()

    def _abort(self, request_id: str) -> None:
        """Abort an engine request; all of one turn of the event loop go in one message."""
        self._to_abort.append(request_id)
        if self._aborting is None:
            self._aborting = asyncio.create_task(self._send_aborts())

    async def _send_aborts(self) -> None:
        request_ids, self._to_abort, self._aborting = self._to_abort, [], None
        await self._engine.abort(request_ids)
