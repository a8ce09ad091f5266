"""Turn the conversation of a chat completion request into a problem, and what shapes its prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel

from actors.serving.chat import (
    ChatMessage,
    ChatRequest,
    Controls,
    JsonFormat,
    PatternForm,
    ResponseFormat,
    SchemaFormat,
    Tool,
)
from deepprune.answers import AnswerForm
from deepprune.answers.forms import AnswerPattern
from deepprune.answers.question import asks_for_a_value
from deepprune.traces import Message, Problem, PromptOptions


def problem_of(request: ChatRequest) -> Problem:
    """The conversation as a problem, in the form of answer that the request asks for."""
    messages = tuple(map(_message, request.messages))
    said = [message for message in messages if message.role != "system"]
    if len(said) == 1:
        text = said[0].content
    else:  # the judge needs the conversation
        text = "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in said)
    # One id for all requests: the traces' seeds follow from it and the request's seed.
    return Problem(
        f"chat/{request.model}",
        text,
        answer_kind=_answer_form(request),
        messages=messages,
        prompt_options=_prompt_options(request),
    )


def tools_of(request: ChatRequest) -> list[Tool]:
    """The tools that the model may call."""
    return [] if request.tool_choice == "none" else request.tools or []


def _answer_form(request: ChatRequest) -> AnswerForm:
    asked = (request.deepprune or Controls()).answer
    if isinstance(asked, PatternForm):
        return AnswerPattern(asked.regex)
    if asked is None:
        return "auto" if json_schema_of(request.response_format) is None else "json"
    return asked


def seems_to_ask_for_a_value(request: ChatRequest) -> bool:
    """Guess from the instructions and the last question; other turns say nothing about it."""
    instructions = [m.content or "" for m in request.messages if m.role in ("system", "developer")]
    questions = [m.content or "" for m in request.messages if m.role == "user"]
    return asks_for_a_value("\n".join(questions[-1:]), "\n".join(instructions))


def _prompt_options(request: ChatRequest) -> PromptOptions:
    return PromptOptions(
        tools=_as_json(tools) if (tools := tools_of(request)) else "",
        template_kwargs=tuple((request.chat_template_kwargs or {}).items()),
        reasoning_effort=request.reasoning_effort,
    )


def _message(turn: ChatMessage) -> Message:
    return Message(
        role="system" if turn.role == "developer" else turn.role,
        content=turn.content or "",
        name=turn.name,
        reasoning=turn.reasoning_content or turn.reasoning,
        tool_calls=_as_json(turn.tool_calls) if turn.tool_calls else "",
        tool_call_id=turn.tool_call_id,
    )


def _as_json(items: Sequence[BaseModel]) -> str:
    return json.dumps([item.model_dump(exclude_none=True, exclude={"index"}) for item in items])


def json_schema_of(asked: ResponseFormat | None) -> str | None:
    """The JSON schema that a response follows, as a text; None for any text."""
    match asked:
        case JsonFormat():
            return '{"type": "object"}'
        case SchemaFormat():
            return json.dumps(asked.json_schema.json_schema or {})
    return None
