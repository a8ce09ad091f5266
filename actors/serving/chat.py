"""The body of a chat completion request: its schema and its validation.

Unsupported parameters that would change the answer are refused by name.
"""

from __future__ import annotations

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

from actors.serving.errors import ApiError, bad_request

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
"""Unsupported parameters, with the values that are accepted because they change nothing."""

HARMLESS = frozenset(
    {
        *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "store", "user"),
    }
)
"""Parameters that do not change the answer; ignored."""


def _joined(content: Any) -> Any:
    """Join a message's content, a text or a list of text parts, into one text."""
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
    """One turn. The role `developer` means `system`."""

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
    """Options of the vote; `extra_body={"deepprune": {...}}` in OpenAI's Python client."""

    n: int | None = Field(None, ge=1)
    """The most traces to launch."""
    policy: str | None = None
    """One of the model's policies, which `/v1/models` lists."""
    tau: float | None = Field(None, gt=0, lt=1)
    """P(same) above which two traces count as the same; `deepprune` only."""
    max_total_tokens: int | None = Field(None, ge=1)
    """Tokens over all traces after which the vote stops."""
    deadline_s: float | None = Field(None, gt=0)
    """Seconds after which the vote stops."""
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


def parse_body(body: bytes) -> ChatRequest:
    """Parse and validate a request body.

    Raises:
        ApiError: it is not a valid request; the message names the first fault.
    """
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
    """Compare values; true is not 1 and false is not 0."""
    return bool(value == neutral) and isinstance(value, bool) == isinstance(neutral, bool)


def _plain(message: Any) -> Any:
    """Drop empty fields of a message: clients send our answers back with their nulls."""
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
