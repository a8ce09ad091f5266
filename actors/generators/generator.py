"""The generator: a Serve replica around one vLLM engine, one engine request per trace.

It detects checkpoints beside the engine, so that few updates travel: one at the checkpoint, one at
the end, and one about every second in between.
"""

from __future__ import annotations

import asyncio
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
from actors.replica.engine import check_engine, exit_replica, start_engine
from actors.replica.heartbeat import with_heartbeats
from actors.replica.stall_detector import StallDetector
from actors.tokenizer import load_tokenizer
from deepprune.checkpoints import CheckpointDetector, CheckpointSpec, detector
from deepprune.config import VllmGeneratorConfig
from deepprune.traces import Message, PromptOptions

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput

RECENT_OUTPUTS = 32
"""Latest outputs of a trace kept with their time, to measure the lag of a cancel."""


class Generator:
    """One replica. Closing the stream of `generate` aborts the trace in the engine."""

    def __init__(
        self, config: VllmGeneratorConfig, executor_backend: str | None, stall_s: float
    ) -> None:
        self._config = config
        self._stall_detector = StallDetector(stall_s)
        self._stall_s = stall_s
        self._callers = CallerWatch()
        self._engine = start_engine(config.engine, executor_backend)
        tokenizer = load_tokenizer(config.engine.tokenizer)
        self._detokenizer = Detokenizer(tokenizer)
        self._prompts = Prompts(
            tokenizer,
            int(self._engine.model_config.max_model_len),
            config.chat_template_kwargs,
            config.chat_template_date,
        )

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

    async def _updates(
        self, request: TraceRequest, prompt: list[int], trace: _Trace
    ) -> AsyncGenerator[TraceUpdate]:
        """Yield the updates of a trace from the engine."""
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        ended = False
        try:
            with self._stall_detector.request(), self._callers.working_for(request.report_to):
                async for output in self._engine.generate(
                    tokens_input(prompt), trace.sampling_params(), request.request_id
                ):
                    self._stall_detector.record_output()
                    update = trace.take(output)
                    # Set before the last yield: the consumer may never resume this generator.
                    ended = trace.ended
                    if update is not None:
                        yield update
                    if ended:
                        return
        except EngineDeadError:
            exit_replica()
        finally:
            if not ended and request.report_to is not None:
                request.report_to.settle.remote(
                    request.request_id, trace.num_tokens, tuple(trace.recent)
                )

    def __del__(self) -> None:
        """End the engine's processes. Called by Serve when it retires the replica."""
        self._engine.shutdown()


class _Trace:
    """Follows one engine request and decides when to send an update."""

    def __init__(
        self, request: TraceRequest, config: VllmGeneratorConfig, decoder: Decoder
    ) -> None:
        self.num_tokens = len(request.prefix_token_ids)
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_OUTPUTS)
        self.ended = False
        self._request = request
        self._config = config
        self._decoder = decoder
        self._stop = StopTexts(request.sampling.stop, request.prefix_text)
        self._detector = _detector(request)
        self._confidence = (
            ConfidenceMeter(config.confidence_top_k, config.confidence_window)
            if config.confidence
            else None
        )
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._last_update = time.monotonic()
        self._first_update = True

    def sampling_params(self) -> SamplingParams:
        """The engine's parameters for what is left of the trace's budget."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = self._request.sampling
        budget = sampling.max_tokens - self.num_tokens
        pause_at = self._pause_at
        exact = self._stop or (self._detector and not pause_at)
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=min(budget, pause_at - self.num_tokens) if pause_at else budget,
            seed=self._request.seed,
            detokenize=False,
            logprobs=self._config.confidence_top_k if self._confidence else None,
            flat_logprobs=True,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=1 if exact else self._config.stream_interval,
        )

    def take(self, output: RequestOutput) -> TraceUpdate | None:
        """Add an engine output; return an update where there is something to say."""
        completion = output.outputs[0]
        token_ids = completion.token_ids
        self._token_ids.extend(token_ids)
        self.num_tokens += len(token_ids)
        now = time.monotonic()
        self.recent.append((time.time(), self.num_tokens))
        if self._confidence and completion.logprobs:
            self._confidence.take(completion.logprobs)

        finish_reason = completion.finish_reason
        paused = finish_reason == "length" and self.num_tokens == self._pause_at
        if paused and self.num_tokens < self._request.sampling.max_tokens:
            finish_reason = None  # stopped by us, at the checkpoint
        # The token that ends a turn is no text.
        shown = token_ids[:-1] if finish_reason == "stop" else token_ids
        text = self._decoder.feed(shown, final=finish_reason is not None)
        self._text.append(text)
        prefix_chars = None
        if self._detector:
            cut = self._detector.feed(text, len(token_ids))
            if cut is not None:
                prefix_chars, self._detector = cut.num_chars, None
        if self._stop.found_in(text):
            finish_reason = "stop"
        self.ended = paused or (prefix_chars is not None and self._request.pause)
        self.ended = self.ended or finish_reason is not None
        quiet = now - self._last_update < self._config.progress_s
        if not self.ended and prefix_chars is None and quiet:
            return None
        self._last_update = now
        return self._update(output, prefix_chars, finish_reason)

    def heartbeat(self) -> TraceUpdate:
        """An update without news."""
        return TraceUpdate("", (), self.num_tokens - len(self._token_ids))

    def _update(
        self, output: RequestOutput, prefix_chars: int | None, finish_reason: str | None
    ) -> TraceUpdate:
        cached = output.num_cached_tokens or 0
        prompt = len(output.prompt_token_ids or ()) if self._first_update else 0
        update = TraceUpdate(
            text="".join(self._text),
            token_ids=tuple(self._token_ids),
            num_tokens=self.num_tokens,
            prefix_chars=prefix_chars,
            finish_reason=finish_reason,
            confidence=self._readings(at_end=finish_reason is not None),
            prompt_computed_tokens=prompt - cached if prompt else 0,
            prompt_cached_tokens=cached if prompt else 0,
        )
        self._text.clear()
        self._token_ids.clear()
        self._first_update = False
        return update

    def _readings(self, *, at_end: bool) -> tuple[float, ...]:
        return self._confidence.drain(at_end=at_end) if self._confidence else ()

    @property
    def _pause_at(self) -> int | None:
        """The token at which the engine itself can stop for us, exactly; None where it cannot."""
        if not self._request.checkpoint or not self._request.pause:
            return None
        spec = CheckpointSpec.parse(self._request.checkpoint)
        return spec.count if spec.kind == "tokens" else None


class StopTexts:
    """Watches a trace for the texts that end it, across updates and resumes."""

    def __init__(self, stop: Sequence[str], text: str) -> None:
        self._stop = stop
        self._keep = max(map(len, stop), default=1) - 1
        self._tail = text[-self._keep :] if self._keep else ""

    def __bool__(self) -> bool:
        """Whether there is anything to watch for."""
        return bool(self._stop)

    def found_in(self, text: str) -> bool:
        """Whether a stop text ends in `text`, which follows all that was seen before."""
        seen = self._tail + text
        self._tail = seen[-self._keep :] if self._keep else ""
        return any(stop in seen for stop in self._stop)


def _detector(request: TraceRequest) -> CheckpointDetector | None:
    """A detector that has already seen the request's prefix."""
    if request.checkpoint is None:
        return None
    watch = detector(CheckpointSpec.parse(request.checkpoint, request.reasoning_words))
    if request.prefix_text:
        watch.feed(request.prefix_text, len(request.prefix_token_ids))
    return watch
