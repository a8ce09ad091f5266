"""The two parts of what a reasoning model writes: its thought, and what it answers.

A trace holds both in one text. Which marks lie between them depends on the model; all of those in
use are known here, with and without decoded special tokens. Everything takes linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MARKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}
_START_OF_THOUGHT = tuple(_MARKS)
END_OF_THOUGHT = tuple(_MARKS.values())
_BEFORE_ANSWER = {
    "<|end_of_thought|>": "\n\n<|begin_of_solution|>\n\n",
    "<channel|>": "",
    "[/THINK]": "",
}
"""What stands between the end of a thought and the answer, where it is no empty line."""
_HARMONY_TOKENS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>")
SPECIAL_MARKS = frozenset((*END_OF_THOUGHT, *_START_OF_THOUGHT, *_HARMONY_TOKENS, "<|channel>"))
"""Special tokens that a decoder must keep: they part the thought from the answer."""
_HARMONY_FINAL = re.compile(r"<\|channel\|>final\s*(?:<\|constrain\|>\w*\s*)?<\|message\|>")
ANSWER_START = "Thus the final answer is \\boxed{"
"""Begins the answer of a thought that was closed, where a value is asked for."""
_HARMONY_THOUGHT = "<|channel|>analysis"
_HARMONY_TURN = "<|start|>assistant"
_HARMONY_ANSWER = f"{_HARMONY_TURN}<|channel|>final<|message|>"
# Harmony without its special tokens: role and channel run into the text.
_BARE_FINAL = "assistantfinal"
_BARE_ANALYSIS = re.compile(r"\s*analysis(?=[A-Z\s])")
_END_OF_TURN = re.compile(
    r"(?:</s>|<eos>|<end_of_turn>|<turn\|>|\[EOS\]|<｜end▁of▁sentence｜>"
    r"|<\|(?:im_end|eot_id|end_of_text|endoftext|return|end|eom_id|end_of_solution)\|>)\s*$"
)
_LONGEST_MARK = 32
_MOST_MARKS = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """`reasoning` is the thought, maybe empty; `content` the answer part, None where none came.

    `end` is the place in the text where the thought ended, None where it did not.
    """

    reasoning: str
    content: str | None
    end: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A thought and an answer without the marks around them; None where there is none."""

    thought: str | None
    answer: str | None


def split_reply(text: str) -> Reply:
    """Split the text of a trace; a text without any marks is all content.

    A thought that has begun and not ended leaves no content: the trace was cut in it.
    """
    text = _without_end_of_turn(text)
    finals = list(_HARMONY_FINAL.finditer(text))
    if finals:
        return _reply(text, finals[-1].start(), finals[-1].end())
    if _BARE_ANALYSIS.match(text):
        start = text.rfind(_BARE_FINAL)
        return _reply(text, start, start + len(_BARE_FINAL)) if start >= 0 else Reply(text, None)
    end, mark = max((text.rfind(mark), mark) for mark in END_OF_THOUGHT)
    if end >= 0:
        return _reply(text, end, end + len(mark))
    if _HARMONY_THOUGHT in text or any(mark in text for mark in _START_OF_THOUGHT):
        return Reply(text, None)
    return Reply("", text)


def spoken_parts(text: str, *, begins_in_thought: bool = False) -> Spoken:
    """Split the text of a trace as a reader wants it: without the marks around the two parts.

    `begins_in_thought` says that the prompt ended in the mark that begins a thought.
    """
    reply = split_reply(text)
    if reply.content is not None and not reply.reasoning:
        if not begins_in_thought:
            return Spoken(None, text if text.rstrip() == reply.content else reply.content)
        reply = Reply(reply.content, None)
    return Spoken(_without_marks(reply.reasoning) or None, reply.content)


def judged_text(prefix: str) -> str:
    """What a language model that judges reads of a prefix: both parts, without the marks."""
    spoken = spoken_parts(prefix)
    return "\n\n".join(part for part in (spoken.thought, spoken.answer) if part)


def opens_thought(prompt: str) -> bool:
    """Whether a prompt ends in the mark that begins a thought, which the trace then lacks."""
    return prompt.rstrip().endswith(_START_OF_THOUGHT)


def closing_text(text: str, prompt: str = "") -> str | None:
    """The text that ends the thought which a trace is in, by its own format; None if it is in none.

    `prompt` is the end of the prompt: the mark that begins the thought may stand there.
    """
    if any(mark in text for mark in END_OF_THOUGHT) or _HARMONY_FINAL.search(text):
        return None
    if "<|channel|>" in text:
        return _harmony_closing(text)
    began = prompt.rstrip() if opens_thought(prompt) else ""
    places = {mark: (began[-_LONGEST_MARK:] + text).find(mark) for mark in _START_OF_THOUGHT}
    found = [mark for mark, place in places.items() if place >= 0]
    if not found:
        return None
    end = _MARKS[min(found, key=places.__getitem__)]
    after = _BEFORE_ANSWER.get(end, "\n\n")
    return f"\n{end}{after}"


def _harmony_closing(text: str) -> str | None:
    """End harmony's message and begin the final one; None where a tool is called."""
    _, ended, header = text.rpartition("<|end|>")
    header = header if ended else _HARMONY_TURN + text
    if _HARMONY_ANSWER.startswith(header):
        return _HARMONY_ANSWER.removeprefix(header)
    return None if "to=" in header.partition("<|message|>")[0] else "<|end|>" + _HARMONY_ANSWER


def _without_marks(thought: str) -> str:
    thought = thought.strip()
    if _HARMONY_THOUGHT in thought or "<|message|>" in thought:
        return _harmony_thought(thought)
    if bare := _BARE_ANALYSIS.match(thought):
        return thought[bare.end() :].strip()
    mark = next((mark for mark in _START_OF_THOUGHT if thought.startswith(mark)), "")
    return thought.removeprefix(mark).strip()


def _harmony_thought(text: str) -> str:
    """The bodies of harmony's messages, without those that call a tool."""
    said = []
    header, *messages = text.replace("<|call|>", "<|end|>").split("<|message|>")
    for message in messages:
        body, _, next_header = message.partition("<|end|>")
        if "to=" not in header:
            said.append(body.strip())
        header = next_header
    return "\n".join(filter(None, said))


def _reply(text: str, end: int, start: int) -> Reply:
    content = text[start:].strip().removeprefix("<|begin_of_solution|>").strip()
    return Reply(text[:end], content or None, end)


def _without_end_of_turn(text: str) -> str:
    text = text.rstrip()
    for _ in range(_MOST_MARKS):
        match = _END_OF_TURN.search(text, max(0, len(text) - _LONGEST_MARK))
        if match is None:
            break
        text = text[: match.start()].rstrip()
    return text
