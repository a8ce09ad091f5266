r"""One spelling for each way to write the same mathematics: Unicode, LaTeX dialects, plain text.

`canonical_latex` is pure text in, text out. The tables of `notation` say what is replaced; the
functions here handle what a table cannot: runs of superscripts, arguments without braces, digits
in groups.
"""

from __future__ import annotations

import re
import unicodedata

from deepprune.answers.notation import (
    CHARACTERS,
    COMMANDS,
    FUNCTIONS,
    GREEK,
    INVISIBLE,
    STYLES,
    TEXTS,
)

_COMMAND = re.compile(r"\\([A-Za-z]+)")
_TEXT_COMMAND = re.compile(rf"\\(?:{'|'.join(TEXTS)})\*?\s*\{{([^{{}}]*)\}}")
_STYLE_COMMAND = re.compile(rf"\\(?:{'|'.join(map(re.escape, STYLES))})(?![A-Za-z])")
_DIRECTIVE = re.compile(r"\\(?:color|hspace|vspace|phantom|hphantom|label|tag)\*?\s*\{[^{}]*\}")
_BLACKBOARD = re.compile(r"\\(?:mathbb|Bbb|mathbf)\s*([RZQNC])(?![A-Za-z])")
_LINES_OF_NUMBERS = re.compile(r"(?<=\d)[ \t]*[\r\n]\s*(?=\d)")
_SPACING = re.compile(r"(?<!\\)\\[,;:! ]|~")
_GROUP = r"(?:,\s*\\!\s*|\s*\{\s*,\s*\}\s*|\\[,;: ]\s*| |,|\\!,|')"
_GROUPED = re.compile(rf"(?<![\d.])\d{{1,3}}({_GROUP})\d{{3}}(?:\1\d{{3}})*(?![\d])")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.DOTALL)
_PLAIN_NAME = re.compile(
    rf"(?<![A-Za-z\\])({'|'.join([*FUNCTIONS, *GREEK, 'infinity', 'inf'])})(?![A-Za-z])"
)
_SCIENTIFIC = re.compile(r"(?<![\w\\.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.^])")
_REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline|\\dot|\\bar)\s*\{(\d+)\}")
_MARKDOWN = re.compile(r"(\*\*|__|\*|`)([^*_`]+)\1")
_OUTER_MATH = re.compile(r"\$\$?([^$]*[^$\\])\$\$?|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_FINAL_PUNCTUATION = re.compile(r"(?:(?<![.\\\d])\.|(?<=\d)\.|(?<!\\)[,;:])$")


def canonical_latex(answer: str) -> str:
    """Rewrite an answer as plain LaTeX in one spelling; takes time linear in its length."""
    text = _LINES_OF_NUMBERS.sub("; ", answer)
    text = _plain_characters(text)
    text = _GROUPED.sub(_join_group, text)
    if "matrix" not in text and "array" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = _DIRECTIVE.sub("", _SPACING.sub(" ", text))
    text = _STYLE_COMMAND.sub("", text)
    text = _TEXT_COMMAND.sub(_text, _BLACKBOARD.sub(r"\\mathbb{\1}", text))
    text = _COMMAND.sub(_command, text)
    text = _plain_formula(text)
    text = _brace_arguments(text)
    text = _REPEATING.sub(_fraction_of_repeating, text)
    return " ".join(text.split())


def strip_wrappers(text: str) -> str:
    """Take off math delimiters, markdown, a final full stop and a line break at the end."""
    before = None
    while before != text:
        before = text
        text = _FINAL_PUNCTUATION.sub("", text.strip())
        text = re.sub(r"(?:\\\\|\\newline)$", "", text).strip()
        for wrapper in (_OUTER_MATH, _MARKDOWN):
            if match := wrapper.fullmatch(text):
                text = next(group for group in reversed(match.groups()) if group is not None)
    return text


def _plain_characters(text: str) -> str:
    """Replace Unicode mathematics; what is left of compatibility forms is normalised (NFKC)."""
    text = text.translate(INVISIBLE)
    if text.isascii():
        return text
    pieces: list[str] = []
    script = ""
    for character in text:
        kind = unicodedata.decomposition(character).partition(" ")[0]
        raised = {"<super>": "^", "<sub>": "_"}.get(kind, "")
        if character in "ªº°":
            raised = ""
        if raised != script:
            pieces.append("}" * bool(script) + f"{raised}{{" * bool(raised))
            script = raised
        if character in CHARACTERS:
            pieces.append(CHARACTERS[character])
        elif raised:
            written = unicodedata.normalize("NFKC", character)
            pieces.append(CHARACTERS.get(written, written))
        elif kind == "<fraction>":
            over, _, under = unicodedata.normalize("NFKC", character).partition("⁄")
            pieces.append(rf"\frac{{{over}}}{{{under}}}")
        elif character.isspace():
            pieces.append(" ")
        else:
            written = unicodedata.normalize("NFKC", character)
            pieces.extend(CHARACTERS.get(plain, plain) for plain in written)
    return "".join(pieces) + "}" * bool(script)


def _join_group(match: re.Match[str]) -> str:
    """`11,\\! 111` is one number; `1,000` alone too, but not inside `(1,000)`: see `structure`."""
    return match[0] if match[1] == "," else re.sub(r"\D", "", match[0])


def _text(match: re.Match[str]) -> str:
    """Upright constants and functions are what they stand for; other text stays text."""
    content = match[1]
    if content.strip() in FUNCTIONS:
        return rf"\{content.strip()} "
    return content if content.strip() in ("i", "e", "d") else rf"\text{{{content}}}"


def _command(match: re.Match[str]) -> str:
    replaced = COMMANDS.get(match[1])
    if replaced is None:
        return match[0]
    return replaced + " " if replaced[-1:].isalpha() else replaced


def _plain_formula(text: str) -> str:
    """Read `2*pi*r`, `sqrt(x)`, `ln 3`, `x**2`, `<=` and `1e-07` outside of text."""
    pieces = re.split(r"(\\text\{[^{}]*\})", text)
    return "".join(
        piece if piece.startswith(r"\text{") else _plain_piece(piece) for piece in pieces
    )


def _plain_piece(text: str) -> str:
    text = re.sub(r"\babs\(([^()]*)\)", r"|\1|", text)
    text = text.replace("**", "^").replace("*", r"\cdot ")
    for plain, command in (("<=", r"\le "), (">=", r"\ge "), ("!=", r"\ne "), ("+-", r"\pm ")):
        text = text.replace(plain, command)
    text = _SCIENTIFIC.sub(r"\1\\cdot 10^{\2}", text)
    return _PLAIN_NAME.sub(lambda m: rf"\{'infty' if m[1][:3] == 'inf' else m[1]} ", text)


def _brace_arguments(text: str) -> str:
    return _Braces(text).written()


class _Braces:
    r"""Puts braces around arguments that stand without: `\frac12`, `\sqrt[3]2`, `x^2`, `^(n+1)`.

    As in LaTeX an argument of a fraction is one token: `\frac12` is a half. A root or an exponent
    takes a whole number or a parenthesis, as plain text means it: `sqrt 12`, `x^12`, `2^(n+1)`.
    """

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        self._index = 0

    def written(self) -> str:
        """The text with all braces."""
        pieces = []
        while self._index < len(self._tokens):
            pieces.append(self._element())
        return "".join(pieces)

    def _element(self) -> str:
        token = self._tokens[self._index]
        self._index += 1
        if token in (r"\frac", r"\binom"):
            return f"{token}{{{self._argument()}}}{{{self._argument()}}}"
        if token == r"\sqrt":
            self._skip_space()
            degree = f"[{self._group('[', ']')}]" if self._peek() == "[" else ""
            return rf"\sqrt{degree}{{{self._argument(whole=True)}}}"
        if token in ("^", "_"):
            return f"{token}{{{self._argument(whole=True)}}}"
        return token

    def _argument(self, *, whole: bool = False) -> str:
        self._skip_space()
        token = self._peek()
        if token == "{":
            return _brace_arguments(self._group("{", "}"))
        if token == "(" and whole:
            return _brace_arguments(self._group("(", ")"))
        if token[:1].isdigit() and not whole:
            self._tokens[self._index : self._index + 1] = list(token)
        if token in ("-", "+") and whole:
            self._index += 1
            return token + self._argument(whole=True)
        return self._element() if token else ""

    def _group(self, opening: str, closing: str) -> str:
        depth, start = 0, self._index
        while self._index < len(self._tokens):
            token = self._tokens[self._index]
            depth += (token == opening) - (token == closing)
            self._index += 1
            if depth == 0:
                break
        return "".join(self._tokens[start + 1 : self._index - (depth == 0)])

    def _peek(self) -> str:
        return self._tokens[self._index] if self._index < len(self._tokens) else ""

    def _skip_space(self) -> None:
        while self._peek().isspace():
            self._index += 1


def _fraction_of_repeating(match: re.Match[str]) -> str:
    r"""`0.1\overline{6}` is 1/6."""
    whole, fixed, period = match[1] or "0", match[2], match[3]
    under = (10 ** len(period) - 1) * 10 ** len(fixed)
    over = int(whole + fixed + period) - int(whole + fixed)
    return rf"\frac{{{over}}}{{{under}}}"
