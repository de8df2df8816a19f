"""Tokenizers of the library `tokenizers`, which is imported where one is used."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from typing import Any

from pyrovae.errors import ArgumentError, DataError, FileError


class ForeignTokens:
    """The tokens of a tokenizer, and what it does not know.

    Padding, cutting and tokens that mark the ends of a text are left out: the end of a line is a token of its own, and
    what fills an array up, or stands in every line, would enter every figure.

    Args:
        tokenizer: of the library.
        written: the same as JSON.
    """

    def __init__(self, tokenizer: Any, written: str):
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._unknown = _unknown_of(tokenizer, json.loads(written).get("model") or {})

    def numbers(self, line: str, lost: Counter[str]) -> list[int]:
        """The tokens of a line.

        Args:
            line: one text.
            lost: where words are counted of which characters are in no token, or in one for what is unknown.
        """
        try:
            found = self._tokenizer.encode(line, add_special_tokens=False)
        except Exception as error:  # the library raises Exception itself
            raise DataError(f"the tokenizer does not take {line[:40]!r}: {error}.") from None
        held, unknown = bytearray(len(line)), self._unknown
        for number, (start, end) in zip(found.ids, found.offsets, strict=True):
            held[start:end] = bytes(end - start) if number == unknown else b"\1" * (end - start)
        # Of whole words: where characters are dropped, the library's places are off by those before them.
        lost.update(word.group() for word in re.finditer(r"\S+", line) if not all(held[word.start() : word.end()]))
        return found.ids

    def text(self, numbers: list[int]) -> str:
        """What tokens say, those that have a name for no text among them, such as one for what is unknown."""
        return self._tokenizer.decode(numbers, skip_special_tokens=False)


def _unknown_of(tokenizer: Any, model: dict[str, Any]) -> int | None:
    """The token that stands for what a model does not know."""
    named = model.get("unk_token")
    return model.get("unk_id") if named is None else tokenizer.token_to_id(named)


@functools.lru_cache(maxsize=4)
def tokens_from(written: str) -> ForeignTokens:
    """The tokens of a tokenizer that a JSON text says."""
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports] - a user's own
    except ImportError:
        raise ArgumentError("these tokens are those of a tokenizer, which needs: pip install tokenizers.") from None
    try:
        return ForeignTokens(Tokenizer.from_str(written), written)
    except Exception as error:  # the library raises Exception itself
        raise FileError(f"the vocabulary's tokenizer cannot be read: {error}.") from None
