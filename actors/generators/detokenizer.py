"""Turn the token ids of a trace into text, across pauses, resumes and engines that die.

vLLM starts its detokenizer anew with each request, over prompt and prefix: a request that resumes
inside a character repeats the whole prompt in the trace, and characters held back for a stop text
are lost. Here the text of a trace depends on its token ids only, not on where it was interrupted.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from deepprune.answers.reply import SPECIAL_MARKS

if TYPE_CHECKING:
    from tokenizers.decoders import DecodeStream

CONTEXT_TOKENS = 32
"""Tokens before a resume that are decoded again: more than any character spans."""


class Decoder(Protocol):
    """Decodes the tokens of one trace, in order."""

    def feed(self, token_ids: Sequence[int], *, final: bool = False) -> str:
        """Decode more tokens; hold back an unfinished character unless they are `final`."""
        ...


class Detokenizer:
    """Makes decoders for the traces of one tokenizer.

    Special tokens vanish, except those that part a thought from an answer (harmony's channels, for
    instance): without them no reader can tell the two apart.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import decoders

        self._backend = tokenizer.backend_tokenizer
        added: dict[int, Any] = self._backend.get_added_tokens_decoder()
        self._dropped = frozenset(
            token_id
            for token_id, token in added.items()
            if token.special and token.content not in SPECIAL_MARKS
        )
        self._bytes: list[bytes] | None = None
        if isinstance(self._backend.decoder, decoders.ByteLevel):
            self._bytes = _bytes_by_id(self._backend.get_vocab(with_added_tokens=True))
            for token_id in self._dropped:
                self._bytes[token_id] = b""

    def decoder(self, context: Sequence[int]) -> Decoder:
        """Make the decoder of a trace that goes on after `context`, its prompt and prefix.

        What an earlier decoder held back at the end of `context` comes out of this one.
        """
        decoder: Decoder = (
            ByteDecoder(self._bytes)
            if self._bytes is not None
            else StreamDecoder(self._backend, self._dropped)
        )
        decoder.feed(context[-CONTEXT_TOKENS:])
        return decoder


class ByteDecoder:
    """Decodes a byte-level vocabulary: each token is a string of bytes."""

    def __init__(self, bytes_by_id: Sequence[bytes]) -> None:
        self._bytes = bytes_by_id
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_ids: Sequence[int], *, final: bool = False) -> str:
        """Decode more tokens, as `Decoder.feed` describes."""
        table, size = self._bytes, len(self._bytes)
        data = b"".join([table[token_id] for token_id in token_ids if token_id < size])
        return self._utf8.decode(data, final)


class StreamDecoder:
    """Decodes any other vocabulary by the tokenizers library, token by token."""

    def __init__(self, backend: Any, dropped: frozenset[int]) -> None:
        self._backend = backend
        self._dropped = dropped
        self._stream = _new_stream()
        self._held: list[int] = []

    def feed(self, token_ids: Sequence[int], *, final: bool = False) -> str:
        """Decode more tokens, as `Decoder.feed` describes."""
        pieces = [self._step(token_id) for token_id in token_ids if token_id not in self._dropped]
        if final and self._held:
            pieces.append(self._backend.decode(self._held, skip_special_tokens=False))
            self._held.clear()
        return "".join(pieces)

    def _step(self, token_id: int) -> str:
        try:
            piece = self._stream.step(self._backend, token_id)
        except Exception as error:
            if not str(error).startswith("Invalid prefix"):
                raise
            # Bytes that are no UTF-8 changed what came before them: begin anew behind them.
            self._stream = _new_stream()
            self._held.clear()
            piece = self._stream.step(self._backend, token_id)
        if piece is None:
            self._held.append(token_id)
            return ""
        self._held.clear()
        return str(piece)


def _new_stream() -> DecodeStream:
    from tokenizers.decoders import DecodeStream

    return DecodeStream(skip_special_tokens=False)


def _bytes_by_id(vocabulary: dict[str, int]) -> list[bytes]:
    """The bytes of each token, by id; a token that is written in plain text stands for itself."""
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    byte_of = _byte_of_character()
    for token, token_id in vocabulary.items():
        try:
            table[token_id] = bytes([byte_of[character] for character in token])
        except KeyError:
            table[token_id] = token.encode("utf-8", "replace")
    return table


@lru_cache(maxsize=1)
def _byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's alphabet)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }
