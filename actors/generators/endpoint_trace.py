"""One trace from an endpoint: from the chunks of its stream to updates."""

from __future__ import annotations

import time
from typing import Any

from actors.generators.deltas import CallDeltas, TraceText, thought_and_answer
from actors.generators.stop_texts import StopTexts
from actors.messages import EngineGone, TraceRequest, TraceUpdate
from deepprune.checkpoints import CheckpointDetector, CheckpointSpec, detector


class EndpointTrace:
    """Follows one stream, and decides when to send an update."""

    def __init__(self, request: TraceRequest, progress_s: float) -> None:
        self.ended = False
        self._request = request
        self._progress_s = progress_s
        self.num_tokens = request.prefix_num_tokens
        self._joined = TraceText(request.prefix_text)
        self._stop = StopTexts(request.sampling.stop, request.prefix_text)
        self._calls = CallDeltas()
        self._answer: list[str] = []
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._last_update = time.monotonic()
        self._first_text_at: float | None = None
        self._detector: CheckpointDetector | None = None
        self._pause_at: int | None = None
        if request.checkpoint is not None:
            spec = CheckpointSpec.parse(request.checkpoint, request.reasoning_words)
            self._detector = detector(spec)
            self._detector.feed(request.prefix_text, request.prefix_num_tokens)
            if request.pause and spec.kind == "tokens":
                self._pause_at = spec.count

    @property
    def max_new_tokens(self) -> int:
        """What the server may still generate: to the end of the budget, or to the checkpoint."""
        end = self._request.sampling.max_tokens
        return min(end, self._pause_at or end) - self._request.prefix_num_tokens

    def take(self, chunk: Any) -> TraceUpdate | None:
        """Add a chunk of the stream; return an update where there is something to say."""
        choices = getattr(chunk, "choices", None)
        choice = choices[0] if choices else None
        finish_reason = getattr(choice, "finish_reason", None) or None  # some servers send ""
        if finish_reason in ("tool_calls", "function_call"):
            finish_reason = "stop"
        self._calls.add(choice)
        thought, answer = thought_and_answer(choice)
        self._answer.append(answer)
        text = self._joined.add(thought, answer, is_last=finish_reason is not None)
        if finish_reason in ("abort", "error"):
            raise EngineGone(f"the endpoint ended the trace: {finish_reason}")
        before = self.num_tokens
        used = getattr(getattr(chunk, "usage", None), "completion_tokens", None)
        if used is not None:
            self.num_tokens = self._request.prefix_num_tokens + int(used)
        elif self._pause_at and finish_reason == "length":
            self.num_tokens = self._request.prefix_num_tokens + self.max_new_tokens
        else:
            self.num_tokens += bool(thought or answer)
        if text and self._first_text_at is None:
            self._first_text_at = time.monotonic()
        self._text.append(text)
        self._token_ids.extend(getattr(choice, "token_ids", None) or ())
        prefix_chars = None
        if self._detector is not None:
            cut = self._detector.feed(text, self.num_tokens - before)
            if cut is not None:
                prefix_chars, self._detector = cut.num_chars, None
        # The server applies the stop texts to what it generates, not across a pause.
        num_chars = self._stop.find(text)
        if num_chars is not None:
            finish_reason = "stop"
        if prefix_chars is not None and self._request.pause:
            within_budget = self.num_tokens < self._request.sampling.max_tokens
            if finish_reason == "length" and self._pause_at and within_budget:
                finish_reason = None  # the server stopped where we asked it to
            self.ended = True
        self.ended = self.ended or finish_reason is not None
        now = time.monotonic()
        if not self.ended and prefix_chars is None and now - self._last_update < self._progress_s:
            return None
        self._last_update = now
        return self._update(prefix_chars, finish_reason, num_chars)

    def last_update(self) -> TraceUpdate:
        """Return the last update of a trace that was aborted."""
        return self._update(None, "abort", None)

    def _update(
        self, prefix_chars: int | None, finish_reason: str | None, num_chars: int | None
    ) -> TraceUpdate:
        now = time.monotonic()
        ended = self.ended or finish_reason is not None
        calls = self._calls.as_json() if finish_reason == "stop" else ""
        update = TraceUpdate(
            text="".join(self._text),
            token_ids=tuple(self._token_ids),
            num_tokens=self.num_tokens,
            prefix_chars=prefix_chars,
            finish_reason=finish_reason,
            num_chars=num_chars,
            engine_s=now - (self._first_text_at or now) if ended else 0.0,
            tool_calls=calls,
            said_beside_calls="".join(self._answer).strip() if calls else "",
        )
        self._text.clear()
        self._token_ids.clear()
        return update
