r"""The answer that a trace gives: the last box, or else a statement, or else the last line.

Everything here takes time linear in the text: a trace is written by a model, and may hold a
megabyte of `\boxed{`. Statements are looked for near the end of the text only.
"""

from __future__ import annotations

import re
from typing import Literal

from deepprune.answers.forms import AnswerPattern, find_json, find_pattern
from deepprune.answers.letters import STATEMENT_CHARS, boxed_letter, choice_letter, said_letter
from deepprune.answers.reply import split_reply

AnswerKind = Literal["auto", "choice", "math"]
AnswerForm = AnswerKind | Literal["json"] | AnswerPattern
"""What a request may ask for besides."""
TruncatedAnswers = Literal["none", "last_box"]
"""What a trace counts for that was cut inside its thought: nothing, or the last box in it."""

CUT_OFF = frozenset({"length", "max_tokens"})
"""Reasons to finish that say that a trace reached its budget of tokens."""
_SENTENCE_ENDS = tuple(".!?。")

# A box opens, something is escaped, or a brace. The lookahead reads `\\boxed{5}`, as traces that
# were escaped once too often have it, as a box and not as a line break before the word "boxed".
_BRACE = re.compile(r"(\\(?:boxed|fbox)\s*\{)|\\(?!\\(?:boxed|fbox)).|[{}]", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"\W*(?:(?:your|the|insert|final|correct|numerical)[ _-]*)*answer(?:[ _-]*(?:here|letter))?\W*"
    r"|(?:\\(?:l|c)?dots|\\square|\\cdot|\\_|\\f?box(?:ed)?\s*\{|[.…?_\s])+",
    re.IGNORECASE,
)
_STYLE = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{|\}")
_NUMBER = r"[-+−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?\s?(?:\\?%|°)?"
_FORMULA = r"\$\$?([^$\n]{1,200})\$|\\\(([^\n]{1,200}?)\\\)"
_STATED = re.compile(
    r"(?:\banswer\b[*_]*\s*(?:\bis\b|\bshould\s+be\b|\bmust\s+be\b|[:=])\s*:?[*_\s]*|####\s*)"
    rf"(?:{_FORMULA}|({_NUMBER})(?!\s?(?:[-+/^=(\\\w]|\*(?!\*))|\.\d))",
    re.IGNORECASE,
)
_NO_RELATION = r"(?!.*(?:[=<>]|\\[lg]eq?\b|\\approx))"
_MARKED_VALUE = re.compile(
    rf"{_NO_RELATION}(?:(?:\*\*|__)(?:{_FORMULA}|({_NUMBER}))(?:\*\*|__)|\*\*({_NUMBER})\.\*\*"
    rf"|(?:{_FORMULA})|\\\[([^\n]{{1,200}})\\\])\.?"
)
_PLAIN_VALUE = re.compile(rf"({_NUMBER})\.?")
_TAGGED = re.compile(r"<answer>([^<>]{1,1000})</answer>")


def extract_answer(
    text: str,
    kind: AnswerForm = "auto",
    *,
    finish_reason: str | None = None,
    truncated: TruncatedAnswers = "last_box",
) -> str | None:
    r"""Find the answer that a trace gives; None where it gives none.

    A trace of a reasoning model is a thought and an answer part (`split_reply`). Only the answer
    part is read, unless the trace was cut: then the last box of the thought counts, if the thought
    had ended or `truncated` is `last_box`. A trace was cut if its `finish_reason` says so (see
    `CUT_OFF`), or if that is unknown and the text breaks off. A text that ends in `</answer>` was
    not cut.

    In what is read, the last `\boxed{}` (or `\fbox{}`, `<answer>`) counts that is not empty, holds
    no placeholder and whose braces balance. Without a box, "the answer is ..." counts, and then a
    last line that is nothing but a value. What a value is depends on `kind`:

    - `math`: a number or a formula, returned as it is written.
    - `auto`: also a choice, A to J. A box that holds nothing else, such as `\text{(B)}`, gives the
      bare letter.
    - `choice`: only letters. `\boxed{B. 12}` is B, and a last line may end in the letter.

    `json` and patterns read the answer part of a trace that was not cut; see `forms`.
    """
    reply = split_reply(text)
    known_cut = finish_reason in CUT_OFF
    if kind == "json" or isinstance(kind, AnswerPattern):
        if reply.content is None or known_cut:
            return None
        found = find_json(reply.content) if kind == "json" else find_pattern(reply.content, kind)
        return found
    if reply.content is None:
        if text.rstrip().endswith("</answer>"):  # so the thought has ended, without its mark
            return _of_box(_last_tagged(text), kind)
        return _of_box(last_box(text), kind) if truncated == "last_box" else None
    if not reply.reasoning and known_cut:  # the thought may have begun in the prompt
        return _of_box(last_box(reply.content), kind) if truncated == "last_box" else None
    finished = finish_reason is not None and not known_cut
    answer = _of_content(reply.content, kind, finished=finished)
    breaks_off = known_cut or (finish_reason is None and reply.content[-1:] not in _SENTENCE_ENDS)
    if answer is None and breaks_off:
        answer = _of_box(last_box(reply.reasoning), kind)
    return answer


def _of_content(content: str, kind: AnswerKind, *, finished: bool) -> str | None:
    answer = _of_box(last_box(content), kind)
    if answer is None and kind != "math":
        answer = said_letter(content, strict=kind == "auto")
    if answer is None and kind != "choice":
        answer = _stated(content, finished=finished)
    return answer


def last_box(text: str) -> str | None:
    """The content of the last box that balances and says something.

    One pass from the left, with a stack of open braces, some of which opened a box.
    """
    last_start, last = -1, None
    stack: list[tuple[int, bool]] = []
    for token in _BRACE.finditer(text):
        if token[1] or token[0] == "{":
            stack.append((token.end(), bool(token[1])))
        elif token[0] == "}" and stack:
            start, is_box = stack.pop()
            # Nested boxes end in another order than they begin; the last to begin counts.
            if is_box and start > last_start:
                content = text[start : token.start()].strip()
                if content and not _is_placeholder(content):
                    last_start, last = start, content
    return last or _last_tagged(text)


def _last_tagged(text: str) -> str | None:
    tagged = _TAGGED.findall(text[-STATEMENT_CHARS:])
    content = tagged[-1].strip() if tagged else ""
    return content if content and not _is_placeholder(content) else None


def _is_placeholder(content: str) -> bool:
    return len(content) < 80 and _PLACEHOLDER.fullmatch(_STYLE.sub("", content)) is not None


def _of_box(box: str | None, kind: AnswerKind) -> str | None:
    if box is None or kind == "math":
        return box
    if kind == "auto":
        return choice_letter(box) or box
    return boxed_letter(box)


def _stated(content: str, *, finished: bool) -> str | None:
    """A value that is stated near the end, or the last line where it is nothing else.

    A number on the last line may be that of a list that breaks off: without marks around it, it
    counts where it is the whole content, or where the trace is known to have `finished`.
    """
    tail = content[-STATEMENT_CHARS:].rstrip()
    matches = list(_STATED.finditer(tail))
    if matches:
        match: re.Match[str] | None = matches[-1]
    else:
        line = tail.rpartition("\n")[2].strip()
        match = _MARKED_VALUE.fullmatch(line)
        if match is None and (finished or line == content):
            match = _PLAIN_VALUE.fullmatch(line)
    if match is None:
        return None
    value = next(group for group in match.groups() if group is not None).strip()
    return value if re.search(r"\w", value) else None
