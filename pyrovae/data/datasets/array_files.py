"""Arrays from files that somebody else wrote: IDX, .npy and .npz. Nothing in a file is ever executed."""

from __future__ import annotations

import difflib
import gzip
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, cast

import numpy as np

from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.data.datasets.sparse_file import dense_array, is_sparse_file
from pyrovae.errors import ArgumentError, DataError, FileError, PyrovaeError, argument

# The third byte of an IDX file names the type; the numbers are written in big-endian order.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_NOT_NUMBERS = {
    "O": "objects, which are stored as a pickle; a pickle can execute code, so none is ever read",
    "U": "strings",
    "S": "strings",
    "V": "structured records",
    "M": "dates",
    "m": "time spans",
    "c": "complex numbers",
}

# How to go on where an array does not fit into memory.
AS_NPY = "Save it as .npy, which is read from the disk row by row, or take fewer rows or columns."

_PACKED_AT_MOST = 1_032  # bytes that one byte of a gzip file can stand for

_LONGEST_HEADER = 10_000  # bytes, which is numpy's own limit; a usual one has 118

_read_header_2_0 = np.lib.format.read_array_header_2_0

_BLOCK = 2**24  # numbers looked at in one go, so that a memory-mapped array is never in memory as a whole


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a parser raises about a file into a `FileError` that names it."""
    try:
        yield
    except PyrovaeError:
        raise
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is no text in UTF-8: {said_in_a_line(error)}. Write it again as UTF-8 (a spreadsheet program "
            "calls it 'CSV UTF-8'), or fetch it again if it is damaged."
        ) from error
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FileError(f"{path} is damaged or cut short: {said_in_a_line(error)}. Fetch or write it again.") from error
    except MemoryError as error:
        raise FileError(f"{path} asks for more memory than there is: {said_in_a_line(error)}. {AS_NPY}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or said_in_a_line(error)}.") from error
    except Exception as error:  # parsers raise many kinds, all of them about this file
        raise FileError(f"{path} is not a sound {path.suffix or 'data'} file: {said_in_a_line(error)}.") from error


def said_in_a_line(error: Exception) -> str:
    """What an error says, in one line of usual length whatever stands in the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".") if len(text) <= 300 else f"{text[:300]}..."


def existing(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder that is there and not empty; otherwise an error with the nearest names."""
    path = Path(path).expanduser()
    check_plain(path, links=True)
    with reading(path):
        if not path.exists():
            raise FileError(_missing(path))
        if path.is_file() and path.stat().st_size == 0:
            raise FileError(f"{path} is empty (0 bytes).")
    return path


def _missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path} does not exist: there is no folder {path.parent}."
    near = difflib.get_close_matches(path.name, sorted(os.listdir(path.parent)), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    return f"{path} does not exist.{hint}"


def idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an IDX file, the format of MNIST, plain or gzipped.

    The file holds two zero bytes, one byte for the type, one for the number of dims, each dim as four bytes, then
    the numbers, all in big-endian order.

    Args:
        path: the file; whether it is gzipped is seen from its content, not from its name.

    Returns:
        An array of the shape and type written in the file.

    Raises:
        FileError: the file is missing, damaged, cut short, too long, or not IDX.

    Examples:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "two-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        >>> idx(path)
        array([7, 9], dtype=uint8)
    """
    path = existing(path)
    with reading(path), path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        most = path.stat().st_size * (_PACKED_AT_MOST if packed else 1)
        return parse_idx(cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if packed else stream, str(path), most)


def parse_idx(stream: IO[bytes] | gzip.GzipFile, label: str, most: int) -> np.ndarray:
    """The array in a (decompressed) IDX file of at most so many bytes; `label` names the file in errors."""
    beginning = stream.read(4)
    kind, dims = (beginning[2], beginning[3]) if len(beginning) == 4 else (None, 0)
    if kind not in _IDX_TYPES or beginning[:2] != b"\x00\x00" or dims == 0:
        raise FileError(f"{label} is not an IDX file: it begins with the bytes {beginning.hex(' ')!r}.")
    lengths = stream.read(4 * dims)
    if len(lengths) < 4 * dims:
        raise FileError(f"{label} is cut short inside its header of {4 + 4 * dims} bytes.")
    shape = struct.unpack(f">{dims}I", lengths)
    dtype = np.dtype(_IDX_TYPES[kind])
    promised = math.prod(shape) * dtype.itemsize
    if promised > most:
        raise FileError(f"{label} is cut short: shape {shape} needs {promised} bytes of data, fewer are there.")
    check_memory(2 * promised, label, AS_NPY)
    content = stream.read(promised + 1)
    if promised < len(content):
        raise FileError(f"{label} is too long: shape {shape} needs {promised} bytes of data, more are there.")
    if promised > len(content):
        raise FileError(
            f"{label} is cut short: shape {shape} needs {promised} bytes of data, {len(content)} are there."
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def npy(path: Path) -> np.ndarray:
    """The array of a .npy file, memory-mapped: read from the disk where it is touched."""
    with reading(path):
        with path.open("rb") as stream:
            check_header(stream, str(path), size=path.stat().st_size)
        return native(np.load(path, mmap_mode="r", allow_pickle=False), str(path))


def npz(path: Path, key: str | None) -> np.ndarray:
    """The array called `key` in a .npz file; without a key, the only one with rows and columns, or a sparse matrix."""
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if len(members) < len(archive.namelist()):
            raise DataError(f"{path} holds more than one array of one name, as no program means to: save it again.")
        if key is None and is_sparse_file(members):
            return dense_array(archive, members, path, lambda name: _member(archive, members[name], path))
        chosen = key if key is not None else _only_array(archive, members, path)
        if chosen not in members:
            raise ArgumentError(f"{path} holds no array {chosen!r}; it holds {_few(members)}.")
        return _member(archive, members[chosen], path)


def _member(archive: zipfile.ZipFile, member: str, path: Path) -> np.ndarray:
    _member_shape(archive, member, path)
    label = f"{member!r} in {path}"
    check_memory(archive.getinfo(member).file_size, label, AS_NPY)
    with archive.open(member) as stream:
        return native(np.lib.format.read_array(stream, allow_pickle=False), label)


def array_names(path: Path) -> list[str]:
    """What the arrays of a .npz file are called."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def only_array(path: Path, *, but: Collection[str]) -> str | None:
    """The one array of a .npz file beside those that are known; None where there are several."""
    others = [name for name in array_names(path) if name not in but]
    return others[0] if len(others) == 1 else None


def _only_array(archive: zipfile.ZipFile, members: dict[str, str], path: Path) -> str:
    shapes = {name: _member_shape(archive, member, path) for name, member in members.items()}
    tables = [name for name, shape in shapes.items() if len(shape) >= 2]
    candidates = tables or list(shapes)
    if len(candidates) != 1:
        listing = _few([f"{name} {shape}" for name, shape in shapes.items()])
        raise ArgumentError(f"{path} holds {listing}: say which array is meant, {argument('key', '...')}.")
    return candidates[0]


def _few(names: Collection[str]) -> str:
    listed = list(names)[:20]
    return ", ".join([*listed, "..."] if len(listed) < len(names) else listed) or "nothing"


def _member_shape(archive: zipfile.ZipFile, member: str, path: Path) -> tuple[int, ...]:
    entry = archive.getinfo(member)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(f"{member!r} in {path} is packed in a way that numpy does not write: save it with numpy.savez.")
    with archive.open(entry) as stream:
        return check_header(stream, f"{member!r} in {path}", size=entry.file_size)


def check_header(stream: IO[bytes], label: str, *, size: int) -> tuple[int, ...]:
    """The shape in a .npy header, once its type is numbers and what it promises is what `size` bytes hold."""
    try:
        version = np.lib.format.read_magic(stream)
    except ValueError as error:
        raise DataError(
            f"{label} is not a numpy array; if it is a pickle: a pickle can execute code, so none is ever read."
        ) from error
    width, read = (2, np.lib.format.read_array_header_1_0) if version == (1, 0) else (4, _read_header_2_0)
    prefix = stream.read(width)
    length = int.from_bytes(prefix, "little")
    if length > _LONGEST_HEADER:
        raise FileError(
            f"{label} has a header of {length:,} bytes, and the limit is {_LONGEST_HEADER:,}: it is damaged."
        )
    try:
        shape, _, dtype = read(io.BytesIO(prefix + stream.read(length)))
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        # The header is a Python literal, so damage shows as whatever Python's own parser says about it.
        raise FileError(f"{label} has a damaged header: {said_in_a_line(error)}. Fetch or write it again.") from error
    check_numbers(dtype, label)
    if any(type(length) is not int or not 0 <= length < 2**63 for length in shape):  # True is 1, to numpy
        raise FileError(f"{label} has a damaged header: no array has the shape {shape}. Fetch or write it again.")
    promised, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if promised != held:
        verb = "is cut short" if held < promised else "is too long"
        raise FileError(f"{label} {verb}: shape {shape} needs {promised} bytes, {held} are there.")
    return shape


def native(values: np.ndarray, label: str) -> np.ndarray:
    """The same numbers in this machine's byte order, which is the only one torch takes."""
    if values.dtype.isnative:
        return values
    check_memory(
        values.nbytes, label, "Save it in this machine's byte order: values.astype(values.dtype.newbyteorder('='))."
    )
    return values.astype(values.dtype.newbyteorder("="))


def check_numbers(dtype: np.dtype, label: str) -> None:
    """Refuses an array that holds anything but real numbers and truth values."""
    if dtype.kind in _NOT_NUMBERS:
        words = _NOT_NUMBERS[dtype.kind]
        raise DataError(f"{label} holds {words} (dtype {dtype}). Save it as an array of numbers.")
    if dtype.itemsize > 8:
        raise DataError(f"{label} holds numbers of {dtype.itemsize} bytes (dtype {dtype}). Save it as float64.")


def check_values(values: np.ndarray, label: str, names: tuple[str, ...] = ()) -> None:
    """Refuses an array that is empty, has no rows and columns, or holds NaN or infinity (named by row and column)."""
    check_numbers(values.dtype, label)
    if values.ndim not in (2, 3, 4):
        raise DataError(
            f"{label} has shape {values.shape}: expected (rows, columns), (images, height, width) or "
            "(images, channels, height, width)."
        )
    if values.size == 0:
        raise DataError(f"{label} is empty: its shape is {values.shape}.")
    if values.dtype.kind == "f":
        _check_finite(values, label, names)


def _check_finite(values: np.ndarray, label: str, names: tuple[str, ...]) -> None:
    rows = max(1, _BLOCK // math.prod(values.shape[1:]))
    for start in range(0, len(values), rows):
        bad = np.argwhere(~np.isfinite(values[start : start + rows]))
        if len(bad):
            row, *column = (int(number) for number in bad[0])
            name = repr(names[column[0]]) if names else ", ".join(str(number) for number in column)
            more = f", and {len(bad) - 1} more such values in the rows from there on" if len(bad) > 1 else ""
            raise DataError(
                f"{label} holds {values[(start + row, *column)]} in row {start + row}, column {name} (counted from "
                f"0){more}. Drop these rows or fill the holes."
            )
