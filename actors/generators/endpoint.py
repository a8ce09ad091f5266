"""Traces from an endpoint that already runs: any OpenAI-compatible server that streams.

One streaming chat completion per trace; closing the stream aborts it. Checkpoints are found
here, as the text comes in.

A trace is resumed from its tokens where the server reveals them (vLLM does): exactly the trace that
was paused. Elsewhere it is resumed from its text, as an unfinished answer that the server continues
(`continue_final_message`; SGLang). That goes through the chat template, and the templates of some
reasoning models rewrite an unfinished answer: Qwen3's closes an empty thought before it. A server
that can do neither can still be used with policies that never pause.

Where the server sends the thought apart from the answer, the trace's text has `</think>` between
them, which costs no token.

Tokens are counted by the server where it says so in every chunk; elsewhere each delta with a text
is taken for one token.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from actors.generators.abortable import AbortableGenerators
from actors.generators.endpoint_trace import EndpointTrace
from actors.messages import Busy, EngineGone, TraceRequest, TraceUpdate
from deepprune.config import EndpointGeneratorConfig
from deepprune.errors import UserError
from deepprune.traces import Message, PromptOptions

if TYPE_CHECKING:
    import openai
    from openai import AsyncOpenAI

CHECK_TIMEOUT_S = 8.0
MAX_PROMPTS = 1024
"""Problems whose prompt is remembered as tokens."""


class EndpointGenerators(AbortableGenerators):
    """Generates traces over HTTP.

    A trace from which nothing comes for `stall_s` is gone: a vLLM server that is told to terminate
    may keep its streams open after its engine has ended.
    """

    def __init__(self, config: EndpointGeneratorConfig, stall_s: float | None = None) -> None:
        super().__init__()
        self._config = config
        self._stall_s = stall_s
        self._prompts: dict[tuple[tuple[Message, ...], PromptOptions], list[int]] = {}
        self._slots = asyncio.Semaphore(config.max_concurrency)

    async def check(self) -> None:
        """Ask the endpoint which models it serves.

        Raises:
            UserError: nothing answers, the key is refused, or the model is not served.
        """
        import openai

        config = self._config
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S), self._new_client() as client:
                models = await client.models.list()
            names = [model.id for model in models.data]
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise self._key_refused() from None
        except (openai.APIError, TimeoutError) as error:
            raise UserError(
                f"endpoint {config.url} does not answer ({_line(error) or 'too slow'}): is the "
                "server running, and does generator.url end in /v1?"
            ) from None
        except (AttributeError, TypeError, ValueError):  # a web page, say
            raise UserError(
                f"endpoint {config.url} does not answer with a list of models: does generator.url "
                "end in /v1?"
            ) from None
        if config.model not in names:
            raise UserError(
                f"endpoint {config.url} serves {', '.join(names) or 'nothing'}, not "
                f"{config.model!r}: set generator.model"
            )

    async def generate(self, request: TraceRequest) -> AsyncGenerator[TraceUpdate]:
        """Generate one trace.

        Raises:
            EngineGone: the connection broke, or the server failed.
            UserError: the server refused the request.
        """
        import openai

        trace = EndpointTrace(request, self._config.progress_s)
        if request.prefix_num_tokens >= request.sampling.max_tokens:  # nothing left to ask for
            yield TraceUpdate("", (), request.prefix_num_tokens, finish_reason="length")
            return
        try:
            async with self._slots, await self._call(request, trace) as chunks:
                async for chunk in chunks:
                    if chunk is None:  # `data: null` keeps the connection alive
                        continue
                    if not request.prefix_text:
                        self._remember_prompt(request, chunk)
                    update = trace.take(chunk)
                    if update is not None:
                        yield update
                        if trace.ended:
                            return
        except asyncio.CancelledError:  # aborted
            yield trace.last_update()
            return
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise self._key_refused() from None  # the server's own words may hold the key
        except openai.APIStatusError as error:
            if error.status_code in (429, 503):
                raise Busy(f"endpoint: {_line(error)}", _retry_after_s(error)) from error
            if error.status_code >= 500 or error.status_code in (408, 409):
                raise EngineGone(f"endpoint: {_line(error)}", back_off=True) from error
            raise UserError(f"endpoint {self._config.url}: {_line(error)}") from None
        except (openai.APIError, json.JSONDecodeError) as error:
            raise EngineGone(f"endpoint: {_line(error)}", back_off=True) from error
        raise EngineGone("the endpoint closed the stream before the trace ended", back_off=True)

    async def _call(self, request: TraceRequest, trace: EndpointTrace) -> Any:
        sampling = request.sampling
        # Extensions, which servers that do not know them ignore: revealed tokens, and a count of
        # them in every chunk.
        extra: dict[str, Any] = {"return_token_ids": True}
        options = request.prompt_options
        arguments = self._config.chat_template_kwargs | dict(options.template_kwargs)
        if arguments:
            extra["chat_template_kwargs"] = arguments
        # Servers that have no template of their own know the effort only.
        effort = options.reasoning_effort or arguments.get("reasoning_effort")
        if effort:
            extra["reasoning_effort"] = effort
        if sampling.top_k:
            extra["top_k"] = sampling.top_k
        asked: dict[str, Any] = {
            "model": self._config.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": trace.max_new_tokens,
            "seed": request.seed,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "extra_body": extra,
        }
        if sampling.stop:
            asked["stop"] = list(sampling.stop)
        prefix, prompt = request.prefix_token_ids, self._prompts.get((request.chat, options))
        if prompt and prefix and not options.tools and len(prefix) == request.prefix_num_tokens:
            return await self._client.completions.create(prompt=[*prompt, *prefix], **asked)
        if options.tools:
            asked["tools"] = json.loads(options.tools)
        if sampling.json_schema is not None:
            schema = {"name": "answer", "schema": json.loads(sampling.json_schema)}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        messages: list[Any] = [message.as_dict() for message in request.chat]
        if request.prefix_text:
            messages.append({"role": "assistant", "content": request.prefix_text})
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        return await self._client.chat.completions.create(messages=messages, **asked)

    def _remember_prompt(self, request: TraceRequest, chunk: Any) -> None:
        ids = getattr(chunk, "prompt_token_ids", None)
        if ids is None:
            return
        self._prompts[request.chat, request.prompt_options] = ids
        if len(self._prompts) > MAX_PROMPTS:
            del self._prompts[next(iter(self._prompts))]

    def _key_refused(self) -> UserError:
        return UserError(
            f"endpoint {self._config.url} refused the API key: set the environment variable that "
            "generator.api_key_env names"
        )

    @cached_property
    def _client(self) -> AsyncOpenAI:
        return self._new_client()

    def _new_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, Timeout

        name = self._config.api_key_env
        key = os.environ.get(name) if name else "none"
        if not key:
            raise UserError(f"generator.api_key_env names {name!r}, which is not set")
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"the key in {name} cannot be sent: it holds a line break or the like")
        return AsyncOpenAI(
            api_key=key,
            base_url=self._config.url,
            # Traces may take hours, and re-issuing them is the coordinator's business.
            timeout=Timeout(None, connect=self._config.connect_timeout_s, read=self._stall_s),
            max_retries=0,
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _retry_after_s(error: openai.APIStatusError) -> float | None:
    """The seconds that the server asks to wait, where it says a number."""
    try:
        return max(0.0, float(error.response.headers.get("retry-after", "")))
    except ValueError:
        return None
