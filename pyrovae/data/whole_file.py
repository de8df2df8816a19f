"""Files that appear only when they are whole: written beside their place, and moved there at the end."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pyrovae.data.check_plain import check_plain
from pyrovae.errors import FileError

_PARTIAL = re.compile(r"\..*\.[0-9a-f]{32}\.partial", re.DOTALL)


class _Written(io.BufferedWriter):
    """A stream that tells nobody its descriptor.

    numpy writes past Python where there is one, by C's own buffer, and does not look whether a full disk has taken the
    end of it: the file would be cut short, and taken for whole.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("what is written here goes through Python")


@contextmanager
def whole_file(path: str | os.PathLike[str], *, make_folder: bool = False, mend: str = "") -> Iterator[BinaryIO]:
    """A stream whose content is at `path` when the block ends without an error; at any moment the old or the new is.

    Args:
        path: where to. A link is refused: what it points to may be anything.
        make_folder: whether to make the folder, too.
        mend: a sentence for the error, where there is something to do.

    Raises:
        FileError: it could not be written; what was at `path` is as it was.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrovae.data.whole_file import whole_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(f"{folder}/a.txt") as stream:
        ...         _ = stream.write(b"whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    place = Path(path)
    check_plain(place, links=False)
    partial = partial_of(place)
    try:
        if make_folder:
            place.parent.mkdir(parents=True, exist_ok=True)
        with (
            moved_when_whole(partial, place),
            open(partial, "xb", buffering=0) as new,  # x: no file of before, and no link
            _Written(new) as stream,
        ):
            yield stream
            stream.flush()
            os.fsync(new.fileno())
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path} cannot be written: {_reason(place, error)}.{mend and f' {mend}'}") from error
    _sync_folder(place.parent)


def partial_of(place: Path) -> Path:
    """A name beside a place that nobody can foresee, and that says what it is; it is short enough for any disk."""
    return place.with_name(f".{place.name[:50]}.{secrets.token_hex(16)}.partial")


def open_at_end(path: Path) -> BinaryIO:
    """A file that grows, at its end; made where it is not there.

    A second name of the same file, in a copy that shares its disk space say, keeps what it has.
    """
    check_plain(path, links=False)
    with suppress(FileNotFoundError):
        if os.lstat(path).st_nlink > 1:
            with whole_file(path) as stream:
                stream.write(path.read_bytes())
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666), "ab")


@contextmanager
def file_errors(path: Path, trouble: str, mend: str = "") -> Iterator[None]:
    """What the system says of a file as an error that names it, and says what to do."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path} {trouble}: {error.strerror or error}.{mend and f' {mend}'}") from error


@contextmanager
def moved_when_whole(partial: Path, place: Path) -> Iterator[None]:
    """What the block writes at `partial`, a file or a folder, goes to `place`, or away where something goes wrong."""
    try:
        yield
        try:
            os.replace(partial, place)
        except OSError as error:
            raise FileError(f"{place} cannot be written: {_reason(place, error)}.") from error
    finally:
        remove(partial)


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write into, whose files are at `path` when the block ends without an error.

    All of them at once where nothing is there yet; else one by one, in the place of those of their names.

    Args:
        path: where to. A link among the files that are there is refused.

    Raises:
        FileError: it could not be written.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrovae.data.whole_file import whole_folder
        >>> with tempfile.TemporaryDirectory() as outer:
        ...     with whole_folder(f"{outer}/a") as folder:
        ...         _ = (folder / "b.txt").write_text("whole")
        ...     [file.name for file in Path(outer, "a").iterdir()]
        ['b.txt']
    """
    place = Path(path)
    partial = partial_of(place)
    try:
        with file_errors(place, "cannot be written"):
            partial.mkdir(parents=True)
            yield partial
            for file in partial.iterdir():
                _sync_file(file)
            if not place.exists():
                os.replace(partial, place)
            else:
                check_plain(*(place / file.name for file in partial.iterdir()), links=False)
                for file in sorted(partial.iterdir()):
                    os.replace(file, place / file.name)
    except FileError as error:
        if isinstance(error.__cause__, OSError):  # of a file of the folder that nobody will find
            raise FileError(f"{place} cannot be written: {_reason(place, error.__cause__)}.") from error.__cause__
        raise
    finally:
        remove(partial)
    _sync_folder(place.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder that may be there."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def remove_partial(folder: str | os.PathLike[str]) -> None:
    """Remove what a killed process left half-written in a folder; only where no other process writes there."""
    for entry in Path(folder).glob(".*.partial"):
        if is_partial(entry):
            remove(entry)


def is_partial(path: Path) -> bool:
    """Whether a file bears the name of something half-written."""
    return _PARTIAL.fullmatch(path.name) is not None


def _reason(place: Path, error: OSError) -> str:
    if not os.path.isdir(place.parent):
        return f"there is no folder {place.parent}; make it first"
    if os.path.isdir(place):
        return "there is a folder of that name"
    return f"{error.strerror or error}; what was there before is as it was"


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Ask the system to write the new name down too.

    The file is whole whether or not it does, and not every file system can, so a refusal is no error.
    """
    if os.name == "nt":  # a folder cannot be opened there
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
