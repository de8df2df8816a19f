"""Vocabularies in files."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pyrovae.data.read_as import read_as
from pyrovae.errors import FileError
from pyrovae.tables.read_schema import schema_text
from pyrovae.tables.text.vocabulary import Vocabulary


def read_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Read a vocabulary that `Vocabulary.save` has written; or that of a pair that was saved.

    Args:
        path: of the TOML file, or of a pair's weights or checkpoint (`.safetensors`).

    Raises:
        FileError: it is something else, or damaged.

    Examples:
        >>> import pyrovae as pv, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "vocabulary.toml"
        >>> vocabulary = pv.text.vocabulary(["a cat"])
        >>> vocabulary.save(path)
        >>> pv.text.read_vocabulary(path) == vocabulary
        True
    """
    return vocabulary_from(schema_text(Path(path)), os.fspath(path))


def vocabulary_from(text: str, path: str) -> Vocabulary:
    """The vocabulary that a text says, which is called by its path where it says none."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileError(f"{path!r} is no TOML: {error}.") from None
    if set(document) != {"vocabulary"}:
        raise FileError(f"{path!r} is no vocabulary: it has to be a table [vocabulary].")
    found = read_as(Vocabulary, document["vocabulary"], path)
    known = set(found.symbols)
    characters = len(known) == len(found.symbols) and all(len(symbol) == 1 for symbol in known)
    lost = found.unknown is not None and found.unknown not in known
    if not found.symbols or found.longest < 1 or lost or not (found.tokenizer or characters):
        raise FileError(f"{path!r} is damaged: symbols are characters, each once, and a line has one at least.")
    return found
