"""The body of a chat completion request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from actors.serving.json_schemas import MAX_PATTERN_CHARS, JsonSchema
from actors.serving.parameters import Body, InertParameters, Only
from deepprune.answers.forms import AnswerPattern, find_pattern

MAX_SEED = 2**63 - 1
THOUGHT_PARTS = ("thinking", "reasoning")


def _joined(content: Any) -> Any:
    """Join a message's content, a text or a list of text parts, into one text."""
    if not isinstance(content, list):
        return content
    parts = [p for p in content if not (isinstance(p, dict) and p.get("type") in THOUGHT_PARTS)]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise ValueError(f"parts of type {kind!r} are not supported, only 'text'")
        if not isinstance(part.get("text"), str) or part.keys() - {"type", "text"}:
            raise ValueError("a text part holds 'type' and 'text', a string, and nothing else")
    return "".join(part["text"] for part in parts)


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_PARTS = {"type": "array", "items": {"type": "object", "required": ["type"]}}
_STOP = {"type": "string", "minLength": 1}
_NAME = r"^[a-zA-Z0-9_.-]{1,64}$"


TemplateArgument = Annotated[str, Field(max_length=256)] | int | float | bool | None


class FunctionCall(Body):
    """The function that an assistant's turn called, with its arguments as JSON."""

    name: str = Field(pattern=_NAME)
    arguments: str


class ToolCall(Body):
    """A call in an assistant's turn."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class ChatMessage(Body):
    """One turn. The role `developer` means `system`; `tool` answers a call of the assistant."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        str | None,
        BeforeValidator(_joined),
        WithJsonSchema({"anyOf": [{"type": "string"}, _PARTS, {"type": "null"}]}),
    ] = None
    name: str | None = None
    reasoning_content: str | None = None
    """What the assistant thought, as our responses have it; also under vLLM's name `reasoning`."""
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, data: Any) -> Any:
        # Clients send our answers back, and add fields of other servers, empty.
        if not isinstance(data, dict):
            return data
        return {k: v for k, v in data.items() if k in cls.model_fields or v not in (None, [])}

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content or self.role == "assistant" or (self.role == "tool" and self.content == ""):
            return self
        raise PydanticCustomError(
            "missing" if self.content is None else "invalid_value",
            "a message of the role '{role}' needs a text",
            {"param": "content", "role": self.role},
        )


class FunctionDefinition(Body):
    """A function that the model may call."""

    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool; only functions are supported."""

    type: Literal["function"]
    function: FunctionDefinition | None = None


class NamedSchema(Body):
    """A JSON schema, and its name, which is not used."""

    name: str = "answer"
    description: str | None = None
    json_schema: JsonSchema | None = Field(None, alias="schema")
    strict: bool | None = None


class TextFormat(Body):
    """Any text: the default."""

    type: Literal["text"]


class JsonFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Body):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class StreamOptions(Body):
    """Options of a stream."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    """Whether every chunk has the usage so far, as vLLM gives it."""
    include_obfuscation: bool | None = None


def _valid_pattern(pattern: str) -> str:
    find_pattern("", AnswerPattern(pattern))
    return pattern


class PatternForm(Body):
    """Answers that a regular expression (RE2) finds: its first group, or all that it matches."""

    regex: Annotated[str, AfterValidator(_valid_pattern)] = Field(
        min_length=1, max_length=MAX_PATTERN_CHARS
    )


class Controls(Body):
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
    answer: Literal["auto", "math", "choice", "json"] | PatternForm | None = None
    """The form of the answer that each trace votes for."""
    return_clusters: bool | None = None
    """Whether to list the samples of each cluster."""


class ChatRequest(InertParameters):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
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
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    chat_template_kwargs: dict[str, TemplateArgument] | None = Field(None, max_length=16)
    """Arguments of the chat template, such as `enable_thinking`."""
    thinking_token_budget: int | None = Field(None, ge=-1)
    """Tokens after which a trace is asked for its answer; -1: never. vLLM's parameter."""
    include_reasoning: bool | None = None
    """False leaves the thought out of the response; vLLM's parameter."""
    separate_reasoning: bool | None = None
    """False puts thought and answer into `content`, as the model wrote them; SGLang's parameter."""
    deepprune: Controls | None = None
