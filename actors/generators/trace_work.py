"""One trace in a generator replica: from the engine's outputs to the updates that travel."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from actors.generators.confidence import token_confidences
from actors.generators.detokenizer import Decoder
from actors.generators.stop_texts import StopTexts
from actors.generators.structured_outputs import structured_outputs
from actors.generators.tool_calls import NOTHING, ToolCallReader
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from deepprune.checkpoints import CheckpointDetector, CheckpointSpec, detector
from deepprune.config import VllmGeneratorConfig

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput


class TraceWork:
    """Follows one engine request, and decides when to send an update.

    Args:
        request: the trace.
        config: of the generator.
        decoder: has decoded the prompt and the prefix.
        replica: the name of this replica.
        generate: starts the engine's request.
        abort: aborts the engine's request; its last output follows.
        tool_calls: reads the calls of a trace, where the generator can.
        closing: what ends the thought and begins the answer; the engine reads it as prompt.
        room: tokens that the context leaves to a trace.
    """

    def __init__(
        self,
        request: TraceRequest,
        config: VllmGeneratorConfig,
        decoder: Decoder,
        replica: str,
        generate: Callable[[SamplingParams], AsyncIterator[RequestOutput]],
        abort: Callable[[], None],
        tool_calls: ToolCallReader | None = None,
        *,
        closing: Sequence[int] = (),
        room: int | None = None,
    ) -> None:
        self.num_tokens = request.prefix_num_tokens
        self._request = request
        self._config = config
        self._decoder = decoder
        self._replica = replica
        self._generate = generate
        self._abort = abort
        self._tool_calls = tool_calls if request.prompt_options.tools else None
        self._all_token_ids = array("i")
        if self._tool_calls:
            self._all_token_ids.extend([*request.prefix_token_ids, *closing])
        closing_text = decoder.feed(closing) if closing else ""
        self._closed = bool(closing)
        self._stop = StopTexts(request.sampling.stop, request.prefix_text + closing_text)
        self._detector = _detector(request)
        self._answer_at = _answer_at(request, room)
        self._aborted = False
        self._text: list[str] = [closing_text]
        self._token_ids = array("i", closing)
        self._confidence = array("f")
        self._prefix_chars: int | None = None
        self._num_chars: int | None = None
        self._last_update = time.monotonic()
        self._first_token_at: float | None = None
        self._prompt_reported = False

    def abort(self) -> None:
        """End the trace soon; its last update has what it has generated until then."""
        self._aborted = True
        self._abort()

    async def items(self) -> AsyncGenerator[tuple[TraceUpdate, bool]]:
        """Yield updates, and whether they are urgent.

        Raises:
            EngineGone: the engine ended the trace, and nobody had asked for it.
        """
        if self.num_tokens >= self._request.sampling.max_tokens:  # its replica died on its last
            yield TraceUpdate("", (), self.num_tokens, finish_reason="length"), True
            return
        if self._aborted:
            yield TraceUpdate("", (), self.num_tokens, finish_reason="abort"), True
            return
        if self.num_tokens >= self._answer_at:  # it was paused there
            yield TraceUpdate("", (), self.num_tokens, before_answer=True), True
            return
        async for output in self._generate(self.sampling_params()):
            update = self.take(output)
            if not output.finished and (self._aborted or self.ends_here):
                self._abort()  # the engine may not have known the request before
            if update is not None:
                yield update, update.prefix_chars is not None or output.finished

    def sampling_params(self) -> SamplingParams:
        """The engine's parameters for the rest of the trace's budget."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = self._request.sampling
        pause_at = self._pause_at
        end = min(sampling.max_tokens, self._answer_at, pause_at or sampling.max_tokens)
        exact = self._stop or (self._detector and not pause_at)
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=end - self.num_tokens,
            seed=self._request.seed,
            detokenize=False,
            logprobs=self._config.confidence_top_k if self._config.confidence else None,
            flat_logprobs=True,
            output_kind=RequestOutputKind.DELTA,
            structured_outputs=structured_outputs(sampling.json_schema),
            stream_interval=1 if exact else self._config.stream_interval,
        )

    def take(self, output: RequestOutput) -> TraceUpdate | None:
        """Add an engine output; return an update where there is something to say."""
        completion = output.outputs[0]
        finish_reason = completion.finish_reason
        asked = self._aborted or self.ends_here
        if finish_reason == "error" or (finish_reason == "abort" and not asked):
            raise EngineGone(f"the engine ended the trace: {finish_reason}")
        now = time.monotonic()
        if self._first_token_at is None:
            self._first_token_at = now
        token_ids = completion.token_ids
        self._token_ids.extend(token_ids)
        if self._tool_calls:
            self._all_token_ids.extend(token_ids)
        self.num_tokens += len(token_ids)
        if self._config.confidence and completion.logprobs:
            top_k = self._config.confidence_top_k
            self._confidence.extend(token_confidences(completion.logprobs, top_k))
        # The token that ends a turn is no text.
        shown = token_ids[:-1] if finish_reason == "stop" else token_ids
        whole = finish_reason == "stop" or self.num_tokens >= self._request.sampling.max_tokens
        self._watch(self._decoder.feed(shown, final=whole), len(token_ids))
        if output.finished:
            return self._update(output, self._finish_reason(finish_reason))
        quiet = now - self._last_update < self._config.progress_s
        if self.ends_here or (quiet and self._prefix_chars is None):
            return None
        self._last_update = now
        return self._update(output, None)

    def _watch(self, text: str, num_tokens: int) -> None:
        """Look for the checkpoint and for stop texts."""
        self._text.append(text)
        if self.ends_here:
            return  # what follows was generated before the engine stopped
        if self._detector:
            cut = self._detector.feed(text, num_tokens)
            if cut is not None:
                self._prefix_chars, self._detector = cut.num_chars, None
        self._num_chars = self._stop.find(text)

    @property
    def ends_here(self) -> bool:
        """Whether the trace is at a stop text, or at the checkpoint where it pauses."""
        paused = self._prefix_chars is not None and self._request.pause
        return paused or self._num_chars is not None

    def _finish_reason(self, reason: str | None) -> str | None:
        """The reason for the driver; None for a trace that has paused at its checkpoint."""
        if self._num_chars is not None or reason == "stop":
            return "stop"
        if self.num_tokens >= self._request.sampling.max_tokens:
            return "length"
        return None if self.ends_here or self.num_tokens >= self._answer_at else reason

    def _update(self, output: RequestOutput, finish_reason: str | None) -> TraceUpdate:
        cached = output.num_cached_tokens or 0
        prompt = 0 if self._prompt_reported else len(output.prompt_token_ids or ())
        assert self._first_token_at is not None
        called = NOTHING
        if self._tool_calls and finish_reason == "stop":
            called = self._tool_calls.read(self._all_token_ids, self._request.prompt_options.tools)
        update = TraceUpdate(
            text="".join(self._text),
            token_ids=self._token_ids,
            num_tokens=self.num_tokens,
            prefix_chars=self._prefix_chars,
            finish_reason=finish_reason,
            num_chars=self._num_chars,
            confidence=self._confidence,
            prompt_computed_tokens=prompt - cached if prompt else 0,
            prompt_cached_tokens=cached if prompt else 0,
            engine_s=time.monotonic() - self._first_token_at if output.finished else 0.0,
            replica=self._replica,
            tool_calls=called.calls,
            said_beside_calls=called.beside,
            before_answer=(
                output.finished and finish_reason is None and self.num_tokens >= self._answer_at
            ),
            closed=self._closed,
        )
        self._closed = False
        self._text, self._token_ids, self._confidence = [], array("i"), array("f")
        self._prompt_reported = True
        if not self._request.pause:
            self._prefix_chars = None  # reported once
        return update

    @property
    def _pause_at(self) -> int | None:
        """The token at which the engine itself can stop for us, exactly; None where it cannot."""
        if not self._request.checkpoint or not self._request.pause:
            return None
        spec = CheckpointSpec.parse(self._request.checkpoint)
        return spec.count if spec.kind == "tokens" else None


def _detector(request: TraceRequest) -> CheckpointDetector | None:
    """A detector that has already seen the request's prefix."""
    if request.checkpoint is None:
        return None
    watch = detector(CheckpointSpec.parse(request.checkpoint, request.reasoning_words))
    if request.prefix_text:
        watch.feed(request.prefix_text, request.prefix_num_tokens)
    return watch


def _answer_at(request: TraceRequest, room: int | None) -> int:
    """The token at which a trace stops for its answer; beyond every budget where it does not.

    Where the context leaves less room than its budget, both parts are shorter.
    """
    if not request.answer_tokens:
        return sys.maxsize
    budget = request.sampling.max_tokens
    thought = budget - request.answer_tokens
    return max(1, thought if room is None else thought * min(room, budget) // budget)
