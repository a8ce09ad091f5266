"""A chat completion request: read, checked, and turned into what a policy needs.

Everything that would change the answer and is not supported is refused by name. Nothing here does
I/O, so the whole of what a client may send is tested without a server.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import from_json

from actors.serving.errors import ApiError, bad_request, unknown_model
from deepprune.config import SamplingConfig
from deepprune.policy_config import ConsConfig, PolicyConfig
from deepprune.serve_config import CeilingsConfig
from deepprune.traces import Message, Problem

MAX_SEED = 2**63 - 1

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "min_p": (None, 0),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None,),
    "repetition_penalty": (None, 1),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}
"""Parameters that are not supported, with the values at which they make no difference."""

HARMLESS = frozenset(
    {
        *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "store", "user"),
    }
)
"""Parameters that make no difference to the answer, and are passed over."""


def _joined(content: Any) -> Any:
    """A message's content as one text, given as a text or in parts."""
    if not isinstance(content, list):
        return content
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise ValueError(f"parts of type {kind!r} are not supported, only 'text'")
        if not isinstance(part.get("text"), str) or part.keys() - {"type", "text"}:
            raise ValueError("a text part holds 'type' and 'text', a string, and nothing else")
    return "".join(part["text"] for part in content)


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_PARTS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}},
        "required": ["type", "text"],
        "additionalProperties": False,
    },
}
_STOP = {"type": "string", "minLength": 1}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ChatMessage(_Body):
    """One turn. `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str,
        BeforeValidator(_joined),
        WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _PARTS]}),
    ] = Field(min_length=1)


class StreamOptions(_Body):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Controls(_Body):
    """How the answer is voted for; `extra_body={"deepprune": {...}}` in OpenAI's Python client."""

    n: int | None = Field(None, ge=1)
    """Traces that may be launched."""
    policy: str | None = None
    """What decides which traces go on: one of those that `/v1/models` names."""
    tau: float | None = Field(None, gt=0, lt=1)
    """P(same) above which two traces count as one; `deepprune` only."""
    max_total_tokens: int | None = Field(None, ge=1)
    """Tokens over all traces, after which the vote is taken as it stands."""
    deadline_s: float | None = Field(None, gt=0)
    """Seconds after which the vote is taken as it stands."""
    return_clusters: bool | None = None
    """Whether to list the samples of each cluster."""


class ChatRequest(_Body):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]] | None,
        BeforeValidator(_listed),
        WithJsonSchema(
            {"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": 4}, {"type": "null"}]}
        ),
    ] = Field(None, max_length=4)
    seed: int | None = Field(None, ge=-MAX_SEED, le=MAX_SEED)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    deepprune: Controls | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a model offers: its policies by name, the one that plain requests get, and bounds."""

    policies: Mapping[str, PolicyConfig]
    default_policy: str
    sampling: SamplingConfig
    ceilings: CeilingsConfig


@dataclass(frozen=True, slots=True)
class Spec:
    """A request that may be carried out."""

    model: str
    problem: Problem
    policy: PolicyConfig
    sampling: SamplingConfig
    seed: int
    deadline_s: float
    max_total_tokens: int | None
    max_tokens_given: bool
    return_clusters: bool
    stream: bool
    include_usage: bool


def read_chat_request(body: bytes, offers: Mapping[str, Offer]) -> Spec:
    """What the body asks for.

    Raises:
        ApiError: it is not JSON, is wrong, or asks for what there is not; the first fault found.
    """
    request = _parsed(body)
    offer = offers.get(request.model)
    if offer is None:
        raise unknown_model(request.model, list(offers))
    if request.messages[-1].role != "user":
        raise bad_request("The last message must be the user's.", "messages")
    controls = request.deepprune or Controls()
    ceilings = offer.ceilings
    sampling, max_tokens_given = _sampling(request, offer.sampling)
    _at_most(controls.n, ceilings.n, "deepprune.n")
    _at_most(controls.max_total_tokens, ceilings.max_total_tokens, "deepprune.max_total_tokens")
    _at_most(controls.deadline_s, ceilings.deadline_s, "deepprune.deadline_s")
    max_total_tokens = controls.max_total_tokens or ceilings.max_total_tokens
    if max_total_tokens is not None and max_total_tokens < sampling.max_tokens:
        sampling = sampling.model_copy(update={"max_tokens": max_total_tokens})
    return Spec(
        model=request.model,
        problem=_problem(request),
        policy=_policy(controls, offer, greedy=sampling.temperature == 0),
        sampling=sampling,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        deadline_s=controls.deadline_s or ceilings.deadline_s,
        max_total_tokens=max_total_tokens,
        max_tokens_given=max_tokens_given,
        return_clusters=bool(controls.return_clusters),
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
    )


def _parsed(body: bytes) -> ChatRequest:
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise bad_request(f"The body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(data, dict):
        raise bad_request("The body must be a JSON object.", code="invalid_json")
    for name, neutral in NEUTRAL.items():
        if name in data:
            value = data.pop(name)
            if not any(_same(value, other) for other in neutral):
                raise bad_request(
                    f"{name!r} is not supported by this endpoint; leave it out.",
                    name,
                    "unsupported_parameter",
                )
    data = {name: value for name, value in data.items() if name not in HARMLESS}
    if isinstance(data.get("messages"), list):
        data["messages"] = [_plain(message) for message in data["messages"]]
    try:
        return ChatRequest.model_validate(data)
    except ValidationError as error:
        raise _explained(error) from None


def _same(value: Any, neutral: Any) -> bool:
    """Equality, but true is not 1 and false is not 0."""
    return bool(value == neutral) and isinstance(value, bool) == isinstance(neutral, bool)


def _plain(message: Any) -> Any:
    """A message without what says nothing: an answer of ours may come back with its nulls."""
    if not isinstance(message, dict):
        return message
    said = ("role", "content")
    return {k: v for k, v in message.items() if k in said or not (v is None or v == [])}


def _explained(error: ValidationError) -> ApiError:
    detail = error.errors(include_url=False, include_input=False)[0]
    param = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    param = param.removeprefix(".")
    match detail["type"]:
        case "extra_forbidden":
            return bad_request(f"Unknown parameter: {param!r}.", param, "unknown_parameter")
        case "missing":
            return bad_request(f"Missing parameter: {param!r}.", param, "missing_parameter")
    message = detail["msg"].removeprefix("Value error, ")
    return bad_request(f"{param}: {message}.", param, "invalid_value")


def _at_most(value: float | None, ceiling: float | None, param: str) -> None:
    if value is not None and ceiling is not None and value > ceiling:
        raise bad_request(
            f"{param} is {value:g}; this server allows at most {ceiling:g}.",
            param,
            "above_ceiling",
        )


def _sampling(request: ChatRequest, base: SamplingConfig) -> tuple[SamplingConfig, bool]:
    asked, other = request.max_completion_tokens, request.max_tokens
    if asked is not None and other is not None and asked != other:
        raise bad_request(
            "max_tokens and max_completion_tokens contradict each other; give one.", "max_tokens"
        )
    asked = asked or other
    name = "max_tokens" if other else "max_completion_tokens"
    _at_most(asked, base.max_tokens, name)
    changes = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "max_tokens": asked,
        "stop": tuple(request.stop) if request.stop else None,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    return base.model_copy(update=given), asked is not None


def _policy(controls: Controls, offer: Offer, *, greedy: bool) -> PolicyConfig:
    if greedy and controls.n is None and controls.policy is None:
        return ConsConfig(num_traces=1)  # all traces would be the same
    name = controls.policy or offer.default_policy
    policy = offer.policies.get(name)
    if policy is None:
        raise bad_request(
            f"There is no policy {name!r} for this model; there is {', '.join(offer.policies)}.",
            "deepprune.policy",
            "invalid_value",
        )
    changes: dict[str, Any] = {}
    if controls.tau is not None:
        if "tau" not in type(policy).model_fields:
            raise bad_request(
                f"The policy {name!r} knows no tau.", "deepprune.tau", "unsupported_parameter"
            )
        changes["tau"] = controls.tau
    changes["num_traces"] = controls.n or min(policy.num_traces, offer.ceilings.n)
    return policy.model_copy(update=changes)


def _problem(request: ChatRequest) -> Problem:
    messages = tuple(
        Message("system" if m.role == "developer" else m.role, m.content) for m in request.messages
    )
    said = [message for message in messages if message.role != "system"]
    if len(said) == 1:
        text = said[0].content
    else:  # the judge has to know what was said before
        text = "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in said)
    # The same id for every request: with it and the request's seed the traces' seeds are drawn.
    return Problem(f"chat/{request.model}", text, messages=messages)
