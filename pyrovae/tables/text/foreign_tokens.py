"""Tokenizers of the library `tokenizers`, which is imported where one is used."""

from __future__ import annotations

import functools
from typing import Any

from pyrovae.errors import ArgumentError, FileError


@functools.lru_cache(maxsize=4)
def tokenizer_from(written: str) -> Any:
    """The tokenizer that a JSON text says."""
    try:
        from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports] - a user's own
    except ImportError:
        raise ArgumentError("these tokens are those of a tokenizer, which needs: pip install tokenizers.") from None
    try:
        return Tokenizer.from_str(written)
    except Exception as error:  # the library raises Exception itself
        raise FileError(f"the vocabulary's tokenizer cannot be read: {error}.") from None
