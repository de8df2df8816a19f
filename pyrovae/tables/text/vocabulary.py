"""Which tokens lines of text are made of: characters, or those of a tokenizer."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from pyrovae.data.lines_of_text import as_lines
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.models.sequences.token_sequence import END
from pyrovae.pairs.numbers import check_count
from pyrovae.tables.text.foreign_tokens import tokens_from

logger = logging.getLogger("pyrovae")

_SHOWN = 40  # characters of a line that an error names


class Vocabulary(NamedTuple):
    """Which tokens lines are made of. Token 0 ends a line; the others are counted from 1.

    Attributes:
        symbols: what tokens 1, 2, ... stand for.
        longest: how many tokens a line has at most. The networks of a pair know no such number:
            `vocabulary._replace(longest=300)` makes room for longer lines.
        unknown: the symbol that stands for all that are not among them; None refuses those.
        tokenizer: of the library `tokenizers`, as JSON; None where tokens are characters.

    Examples:
        >>> import pyrovae as pv
        >>> vocabulary = pv.text.vocabulary(["a cat", "a tact"])
        >>> vocabulary.symbols, vocabulary.encode(["a cat"]).tolist()
        ((' ', 'a', 'c', 't'), [[2, 1, 3, 2, 4, 0, 0]])
        >>> vocabulary.decode(vocabulary.encode(["a cat"]))
        ['a cat']
    """

    symbols: tuple[str, ...]
    longest: int
    unknown: str | None = None
    tokenizer: str | None = None

    @property
    def size(self) -> int:
        """How many tokens there are, the end of lines among them."""
        return len(self.symbols) + 1

    @property
    def steps(self) -> int:
        """How many tokens `encode` gives of each line, its end and what fills up among them."""
        return self.longest + 1

    @property
    def columns(self) -> range:
        """The places of a line."""
        return range(self.steps)

    def encode(self, lines: Any) -> torch.Tensor:
        """The tokens of each line, its end and zeros, (lines, steps).

        Raises:
            DataError: a line is empty or too long, or holds what is no token.
        """
        lines = as_lines(lines)
        found, unknown = torch.zeros(len(lines), self.steps, dtype=torch.long), Counter[str]()
        for place, (line, tokens) in enumerate(zip(lines, self._tokens(lines, unknown), strict=True)):
            if not tokens:
                raise DataError(f"{_named(place, line)} is empty: it has no token. Leave out lines of nothing.")
            if len(tokens) > self.longest:
                raise DataError(
                    f"{_named(place, line)} has {len(tokens)} tokens, and there is room for {self.longest}: cut it, or "
                    f"make room: vocabulary._replace({argument('longest', len(tokens))})."
                )
            found[place, : len(tokens)] = torch.tensor(tokens)
        if unknown:
            shown = ", ".join(f"{symbol!r:.40} ({count})" for symbol, count in unknown.most_common(5))
            if self.tokenizer:
                words = "of some words the tokenizer does not know all: it drops what it does not know or has one token"
                logger.warning("%s for it, so that nothing tells such words apart: %s", words, shown)
            else:
                words = "the vocabulary does not know some characters, which it reads as %r: %s"
                logger.warning(words, self.unknown, shown)
        return found

    def _tokens(self, lines: Sequence[str], unknown: Counter[str]) -> Iterable[list[int]]:
        if self.tokenizer:
            reader = tokens_from(self.tokenizer)
            return ([number + 1 for number in reader.numbers(line, unknown)] for line in lines)
        numbers = {symbol: number for number, symbol in enumerate(self.symbols, 1)}
        return (self._characters(place, line, numbers, unknown) for place, line in enumerate(lines))

    def _characters(self, place: int, line: str, numbers: dict[str, int], unknown: Counter[str]) -> list[int]:
        found = [numbers.get(symbol, END) for symbol in line]
        if END not in found:
            return found
        strange = Counter(symbol for symbol, number in zip(line, found, strict=True) if number == END)
        if self.unknown is None:
            first = next(iter(strange))
            raise DataError(
                f"{_named(place, line)} holds {first!r}, character {line.index(first) + 1}, which the vocabulary does "
                "not know. Make it of all lines, or with a character that stands for those that it does not know: "
                f"pv.text.vocabulary(lines, {argument('unknown', '?')})."
            )
        unknown.update(strange)
        return [number or numbers[self.unknown] for number in found]

    def decode(self, rows: Any, *, like: Any = None, form: Any = None, nearest: bool = False) -> list[str]:
        """Lines of tokens, up to the end of each; one that has no end is cut off after `longest` tokens.

        Args:
            rows: (lines, steps).
            like: nothing; frames have it.
            form: likewise.
            nearest: likewise.
        """
        tokens = torch.as_tensor(rows).detach().cpu()
        if tokens.dim() != 2 or tokens.is_floating_point() or not bool(((tokens >= 0) & (tokens < self.size)).all()):
            raise DataError(
                f"tokens are whole numbers of 0 to {self.size - 1}, (lines, steps); these are {tokens.dtype} of shape "
                f"{tuple(tokens.shape)}."
            )
        # What is drawn without an end has one token too many for a line, and `encode` would not take it again.
        ended = [(line[: line.index(END)] if END in line else line)[: self.longest] for line in tokens.tolist()]
        if self.tokenizer:
            reader = tokens_from(self.tokenizer)
            return [reader.text([token - 1 for token in line]) for line in ended]
        return ["".join(self.symbols[token - 1] for token in line) for line in ended]

    def toml(self) -> str:
        """All that it says, as TOML."""
        entries = [f"longest = {self.longest}", f"symbols = [{', '.join(map(_text, self.symbols))}]"]
        entries += [] if self.unknown is None else [f"unknown = {_text(self.unknown)}"]
        entries += [f"tokenizer = {_text(self.tokenizer)}"] if self.tokenizer else []
        return "[vocabulary]\n" + "".join(f"{entry}\n" for entry in entries)

    def save(self, path: Any) -> None:
        """Write it as TOML; `pv.text.read_vocabulary` reads it again."""
        with whole_file(path) as stream:
            stream.write(self.toml().encode())

    def __str__(self) -> str:
        kind = "tokens of a tokenizer" if self.tokenizer else "characters"
        shown = " ".join(map(repr, self.symbols[:8])) + (" ..." if len(self.symbols) > 8 else "")
        more = "" if self.unknown is None else f"; {self.unknown!r} stands for those that it does not know"
        return f"{len(self.symbols)} {kind}, {shown}; {self.longest} in a line at most{more}"


def vocabulary(
    lines: Any, *, tokenizer: Any = None, longest: int | None = None, unknown: str | None = None
) -> Vocabulary:
    """Which tokens lines are made of: the characters that occur in them, or those of a tokenizer.

    Args:
        lines: texts, none of them empty.
        tokenizer: a `Tokenizer` of the library `tokenizers`, trained by you; left out, tokens are characters.
        longest: how many tokens a line has at most; left out, as many as the longest of these.
        unknown: one character that stands for all that these lines do not have; left out, a line with such a character
            is refused.

    Returns:
        A `Vocabulary`: `encode` makes tokens of lines, `decode` lines of tokens.

    Examples:
        >>> import pyrovae as pv
        >>> print(pv.text.vocabulary(["to be", "or not"], unknown="?"))
        8 characters, ' ' '?' 'b' 'e' 'n' 'o' 'r' 't'; 6 in a line at most; '?' stands for those that it does not know
    """
    lines = as_lines(lines)
    if unknown is not None and (tokenizer is not None or not isinstance(unknown, str) or len(unknown) != 1):
        raise ArgumentError(
            f"{argument('unknown', unknown)}; give one character, and none where a tokenizer has its own."
        )
    if tokenizer is None:
        symbols, written = _characters_of(lines, unknown), None
        lengths = map(len, lines)
    else:
        written = _written(tokenizer)
        symbols, reader = _symbols_of(tokenizer), tokens_from(written)
        lengths = (len(reader.numbers(line, Counter())) for line in lines)
    found = max(lengths) if longest is None else check_count("longest", longest)
    made = Vocabulary(symbols, max(found, 1), unknown, written)
    if longest is None:
        made.encode(lines)  # which refuses lines of nothing
    return made


def _characters_of(lines: Sequence[str], unknown: str | None) -> tuple[str, ...]:
    found = sorted({*"".join(lines), *(unknown or "")})
    if halves := [symbol for symbol in found if "\ud800" <= symbol <= "\udfff"]:
        place, line = next((place, line) for place, line in enumerate(lines) if halves[0] in line)
        raise DataError(
            f"{_named(place, line)} holds {halves[0]!r}, which is half of a character and cannot be written to a file: "
            "text was read with errors='surrogateescape', or cut within a character. Read it as what it is, "
            "pv.text.read_lines(path) in UTF-8."
        )
    return tuple(found)


def _written(tokenizer: Any) -> str:
    if not all(hasattr(tokenizer, name) for name in ("encode", "decode", "to_str", "get_vocab")):
        raise ArgumentError(f"{argument('tokenizer')} is a {type(tokenizer).__name__}; give a tokenizers.Tokenizer.")
    return tokenizer.to_str()


def _symbols_of(tokenizer: Any) -> tuple[str, ...]:
    known = {number: symbol for symbol, number in tokenizer.get_vocab().items()}
    return tuple(known.get(number, "") for number in range(max(known, default=-1) + 1))


def _named(place: int, line: str) -> str:
    shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
    return f"line {place + 1} ({shown!r})"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
