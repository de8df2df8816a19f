"""The rows of epochs beside the checkpoints: each is written once, and a checkpoint says where its own end."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import file_errors, open_at_end
from pyrovae.errors import FileError
from pyrovae.training.epoch import Epoch
from pyrovae.training.saved.trees import flatten, unflatten


class Mark(NamedTuple):
    """How much of the file belongs to a checkpoint: so many rows, in so many bytes, of this hash."""

    rows: int
    size: int
    digest: str


class HistoryFile:
    """The file of a folder's history, which grows by the rows that are new.

    What follows the last mark belongs to no checkpoint, half a row of a killed process say: the next row replaces it.
    """

    def __init__(self, folder: Path):
        self.path = folder / "checkpoint-history.jsonl"
        check_plain(self.path, links=False)
        self._take(b"", 0)
        self._before = (0, 0, hashlib.sha256())

    def write(self, history: Sequence[Epoch]) -> Mark:
        """Write the rows that are not there yet, so that they last whatever happens next; where they end."""
        self._before = (self._rows, self._size, self._hash)
        with file_errors(self.path, "could not be written"):
            if len(history) > self._rows:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._append(history)
        return Mark(self._rows, self._size, self._hash.hexdigest())

    def _append(self, history: Sequence[Epoch]) -> None:
        with open_at_end(self.path) as file:
            if file.tell() < self._size:  # somebody took it away, or a part of it
                self._take(b"", 0)
            content = b"".join(map(_line, history[self._rows :]))
            file.truncate(self._size)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        whole = self._hash.copy()
        whole.update(content)
        self._rows, self._size, self._hash = len(history), self._size + len(content), whole

    def undo(self) -> None:
        """Take the last rows back, whose checkpoint could not be written: the folder is as it was."""
        self._rows, self._size, self._hash = self._before
        with suppress(OSError):  # a disk that takes nothing; what follows the mark counts nothing
            if not self._size:
                self.path.unlink(missing_ok=True)
            else:
                with open_at_end(self.path) as file:
                    file.truncate(self._size)

    def read(self, mark: Sequence[Any], owner: Path) -> tuple[Epoch, ...]:
        """The rows that belong to a checkpoint; rows to come are written after them.

        Raises:
            FileError: they are not there, or not as they were.
        """
        mark = Mark(*mark)
        content = self._content()[: mark.size]
        if hashlib.sha256(content).hexdigest() != mark.digest:
            raise FileError(
                f"{self.path} is missing or damaged, and holds the history of {owner}: put it back as it was, or start "
                "a run of its own in another folder."
            )
        self._take(content, mark.rows)
        return tuple(Epoch(*unflatten({}, json.loads(line))) for line in content.splitlines())

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise FileError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _take(self, content: bytes, rows: int) -> None:
        self._rows, self._size, self._hash = rows, len(content), hashlib.sha256(content)


def _line(row: Epoch) -> bytes:
    """A row as it comes back bit for bit, infinity and NaN too."""
    return json.dumps(flatten(list(row))[1], allow_nan=False, separators=(",", ":")).encode() + b"\n"
