"""The generator: a Serve replica around one vLLM engine, one engine request per trace.

It detects checkpoints beside the engine, so that few updates travel: one at the checkpoint, one at
the end, and one about every second in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from actors.channels import server
from actors.channels.replica import ChannelReplica
from actors.generators.detokenizer import Detokenizer
from actors.generators.prompts import Prompts
from actors.generators.structured_outputs import check_schema
from actors.generators.tool_calls import ToolCallReader
from actors.generators.trace_work import TraceWork
from actors.messages import PromptFacts, TraceRequest
from actors.replica.engine import check_engine, exit_replica, start_engine
from actors.replica.stall_detector import StallDetector
from actors.tokenizer import load_tokenizer
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
        super().__init__(config.engine.slots, stall_s)
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
        parser = config.tool_call_parser
        self._tool_calls = ToolCallReader(parser, tokenizer) if parser is not None else None
        self._replica = server.replica_name()
        self._to_abort: list[str] = []
        self._aborting: asyncio.Task[None] | None = None

    async def check_health(self) -> None:
        """Exit the replica if its engine failed. Called by Serve, which then replaces it."""
        await check_engine(self._engine, self._stall_detector)

    async def num_unfinished(self) -> int:
        """Count the requests that the engine holds."""
        return int(self._engine.output_processor.get_num_unfinished_requests())

    async def check_prompt(
        self, chat: tuple[Message, ...], options: PromptOptions, json_schema: str | None
    ) -> PromptFacts:
        """Measure a prompt, and compile the schema of its answer.

        Raises:
            PromptRefused: the model or the engine cannot honour it.
        """
        if json_schema is not None:
            await asyncio.to_thread(check_schema, self._engine, json_schema)
        # Not on the engine's event loop: the prompt may be far too long.
        return await asyncio.to_thread(self._prompts.check, chat, options)

    def _open(self, request: TraceRequest) -> TraceWork:
        """Make the work of a trace."""
        encoded = self._prompts.encode(request.chat, request.prompt_options)
        prompt = [*encoded, *request.prefix_token_ids]
        closing: list[int] = []
        if request.close is not None:
            closing = self._prompts.closing(encoded, request.prefix_text, request.close)
            if len(prompt) + len(closing) >= self._prompts.context:
                closing = []  # no room for an answer
        return TraceWork(
            request,
            self._config,
            self._detokenizer.decoder(prompt),
            self._replica,
            partial(self._generate, request, [*prompt, *closing]),
            partial(self._abort, request.request_id),
            self._tool_calls,
            closing=closing,
            room=self._prompts.context - len(encoded),
        )

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
