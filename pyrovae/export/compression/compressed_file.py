"""The file: a header, chunks that stand for themselves, an end; each part sealed together with all before it."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pyrovae.errors import FileError

FORMAT = 1
_MAGIC = b"PYROVAE\x1fBITS"
_START, _CHUNK, _END = struct.Struct("<12sHI"), struct.Struct("<4sIIII8s16s"), struct.Struct("<4sIQ")
_SEAL = 16  # bytes
_LARGEST = 2**26  # bytes of a header
_ROWS, _LAST = b"rows", b"end."


class Chunk(NamedTuple):
    """Rows that are decoded by themselves.

    Attributes:
        rows: how many.
        beside: what no site observes, deflated.
        words: the stack.
        first: how many random words lie at its bottom.
        first_digest: of these; what is left when all is decoded must be they.
        digest: of the rows.
    """

    rows: int
    beside: bytes
    words: np.ndarray
    first: int
    first_digest: bytes
    digest: bytes


def digest(*parts: Any) -> bytes:
    """Of bytes, 16 of them."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.digest()[:_SEAL]


class FileWriter:
    """Writes to a stream.

    Args:
        stream: an empty file.
        header: plain values for JSON.
    """

    def __init__(self, stream: BinaryIO, header: Any):
        self._stream, self._chunks, self._rows = stream, 0, 0
        text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
        self._seal = b""
        self._write(_START.pack(_MAGIC, FORMAT, len(text)) + text)

    def add(self, chunk: Chunk) -> None:
        """One more chunk."""
        words = chunk.words.astype("<u4").tobytes()
        start = _CHUNK.pack(
            _ROWS, chunk.rows, len(chunk.beside), len(chunk.words), chunk.first, chunk.first_digest[:8], chunk.digest
        )
        self._write(start + chunk.beside + words)
        self._chunks, self._rows = self._chunks + 1, self._rows + chunk.rows

    def close(self) -> None:
        """That was all."""
        self._write(_END.pack(_LAST, self._chunks, self._rows))

    def _write(self, part: bytes) -> None:
        self._seal = digest(self._seal, part)
        self._stream.write(part + self._seal)


class FileReader:
    """Reads a file, and refuses what is not as it was written.

    Args:
        path: of the file.

    Attributes:
        header: the plain values.
        rows: how many rows there are, as the end of the file says.

    Raises:
        FileError: it is no such file, a newer one, damaged, or cut off.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        try:
            self._stream = open(self.path, "rb")  # noqa: SIM115 - closed by __exit__
            self._size = os.fstat(self._stream.fileno()).st_size
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error
        self._seal = b""
        try:
            self.header = self._header()
            self.rows = self._rows_at_end()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> FileReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def chunks(self) -> Iterator[Chunk]:
        """All chunks, each checked before it is given."""
        count = rows = 0
        while True:
            tag = self._taken(4)
            if tag != _ROWS:
                break
            start = tag + self._taken(_CHUNK.size - 4)
            _, length, beside, words, first, first_digest, data_digest = _CHUNK.unpack(start)
            body = self._taken(beside + 4 * words)
            self._check_seal(start + body)
            count, rows = count + 1, rows + length
            yield Chunk(
                length,
                body[:beside],
                np.frombuffer(body[beside:], "<u4").astype(np.uint32),
                first,
                first_digest,
                data_digest,
            )
        end = tag + self._taken(_END.size - 4)
        self._check_seal(end)
        if _END.unpack(end) != (_LAST, count, rows) or self._stream.read(1):
            raise self._damaged()

    def _header(self) -> Any:
        start = self._stream.read(_START.size)
        if len(start) < _START.size or _START.unpack(start)[0] != _MAGIC:
            raise FileError(f"{self.path} is no file of pyrovae.compress.")
        _, version, length = _START.unpack(start)
        if version > FORMAT:
            raise FileError(
                f"{self.path} has format {version}, and this version of pyrovae knows {FORMAT}: install a newer one.",
                newer=True,
            )
        if version != FORMAT or length > _LARGEST:
            raise self._damaged()
        text = self._taken(length)
        self._check_seal(start + text)
        unpacker = zlib.decompressobj()
        try:
            return json.loads(unpacker.decompress(text, _LARGEST))
        except (zlib.error, ValueError) as error:
            raise self._damaged() from error

    def _rows_at_end(self) -> int:
        here = self._stream.tell()
        self._stream.seek(max(here, self._size - _END.size - _SEAL))
        end = self._stream.read(_END.size)
        self._stream.seek(here)
        if len(end) < _END.size or end[:4] != _LAST:
            raise FileError(f"{self.path} is cut off, or damaged at its end: copy it again from where it was whole.")
        return _END.unpack(end)[2]

    def _taken(self, count: int) -> bytes:
        if count > self._size - self._stream.tell():  # before memory is asked for
            raise self._damaged()
        return self._stream.read(count)

    def _check_seal(self, part: bytes) -> None:
        self._seal = digest(self._seal, part)
        if self._taken(_SEAL) != self._seal:
            raise self._damaged()

    def _damaged(self) -> FileError:
        return FileError(f"{self.path} is damaged: a checksum does not fit. Copy it again from where it was whole.")
