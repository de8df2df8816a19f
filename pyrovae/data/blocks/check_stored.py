"""What an array of Zarr or h5py says of itself, looked at before a number is read: the file may be a stranger's."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.data.datasets.array_files import said_in_a_line
from pyrovae.errors import DataError, FileError, PyrovaeError

_NUMBERS = "fiub"  # kinds of numpy

_BYTES_OF_PLACE = 16  # where a chunk stands in a shard

SMALLER = "Write it again in smaller chunks."


def check_stored(array: Any, where: str) -> None:
    """Refuse an array whose numbers lie in other files, would be unpickled, or are more at once than memory holds.

    Raises:
        DataError: no rows, or no numbers.
        FileError: it leads to other files, to a pickle or to a pipe, is damaged, or its chunks take too much memory.
    """
    try:
        _check(array, where)
    except PyrovaeError:
        raise
    except Exception as error:  # of the library that reads it, of any kind, about this file
        raise FileError(f"{where} cannot be read: {said_in_a_line(error)}.") from error


def _check(array: Any, where: str) -> None:
    kind = getattr(array.dtype, "kind", "O")
    if kind not in _NUMBERS:
        raise DataError(f"{where} holds values of type {array.dtype}; expected numbers")
    if not array.shape:
        raise DataError(f"{where} has no dimension; the first dimension must count the rows")
    (_check_hdf5 if type(array).__module__.startswith("h5py") else _check_zarr)(array, where)
    size = array.dtype.itemsize
    chunk = math.prod(map(int, getattr(array, "chunks", None) or ()))
    check_memory(2 * size * math.prod(map(int, array.shape[1:])), f"a row of {where}", SMALLER)
    check_memory(2 * size * chunk, f"a chunk of {where}", SMALLER)
    inside = math.prod(map(int, getattr(array, "shards", None) or ())) // max(chunk, 1)
    check_memory(
        _BYTES_OF_PLACE * inside, f"the list of the chunks in a shard of {where}", "Write it in smaller shards."
    )


def _check_hdf5(array: Any, where: str) -> None:
    """An HDF5 file may name others, of any kind, whose bytes are then read as numbers."""
    others = [entry[0] for entry in array.external or ()]
    if array.is_virtual:  # one of the same file may lead on
        others += [source.file_name for source in array.virtual_sources()]
    if others:
        raise FileError(
            f"{where} is made of other data sets or files, {os.fsdecode(others[0])!r} say, which are not followed: "
            "open those, or copy the numbers into one data set."
        )


def _check_zarr(array: Any, where: str) -> None:
    """A codec called pickle would execute what it reads; a chunk that is a pipe would be waited for."""
    if "pickle" in set(_names(array.metadata.to_dict())):
        raise FileError(f"{where} is packed as a pickle; a pickle can execute code, so none is ever read.")
    root = getattr(getattr(array, "store", None), "root", None)
    if isinstance(root, Path):
        folder = root / getattr(array, "path", "")
        check_plain(*(Path(place, name) for place, _, names in os.walk(folder) for name in names), links=True)


def _names(document: Any) -> Iterator[str]:
    """What codecs in a document of metadata are called, however deep they stand."""
    if isinstance(document, dict):
        yield from (
            str(value).rpartition(".")[2].lower()
            for key, value in document.items()
            if key in ("id", "name", "codec_id")
        )
        for value in document.values():
            yield from _names(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from _names(value)
    elif hasattr(document, "get_config"):  # a codec of numcodecs
        yield from _names(document.get_config())
    elif hasattr(document, "to_dict"):
        yield from _names(document.to_dict())
