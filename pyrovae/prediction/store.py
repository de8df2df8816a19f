"""Arrays on disk, written part by part: a netCDF file or a Zarr folder that appears only when it is whole.

What is being written has a name that nobody can foresee, with `.partial` at its end. It is renamed at the end, and
removed where something goes wrong on the way; only a process that is killed leaves it behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import file_errors, moved_when_whole, partial_of
from pyrovae.errors import ArgumentError, FileError, argument
from pyrovae.prediction.netcdf_file import NetCDF
from pyrovae.prediction.new_array import NewArray
from pyrovae.prediction.zarr_folder import Zarr

NETCDF, ZARR = (".nc", ".netcdf", ".h5netcdf"), (".zarr",)


class Store(Protocol):
    """Where arrays are written to: groups of arrays with named dims."""

    def create(self, new: NewArray) -> None:
        """Make room for an array."""
        ...

    def write(self, group: str, name: str, index: tuple[slice, ...], values: Any) -> None:
        """Fill a part of an array."""
        ...

    def close(self) -> None:
        """Write everything out."""
        ...


@contextmanager
def new_store(path: str | os.PathLike, groups: Mapping[str, Any] | None = None) -> Iterator[Store]:
    """A new file or folder, which is there when the block ends without an error.

    Args:
        path: ends in .nc (netCDF) or .zarr (a Zarr folder).
        groups: xarray data sets that stand in it from the start, small variables and coordinates; "" is the root.

    Raises:
        ArgumentError: another ending, or Zarr is not installed.
        FileError: the path exists, or cannot be written (the disk is full, say).
    """
    place = checked_path(path)
    check_plain(place, links=False)
    partial = partial_of(place)
    store: Store | None = None
    with moved_when_whole(partial, place):
        try:
            with _in_words(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                store = (NetCDF if place.suffix in NETCDF else Zarr)(partial, groups or {})
            yield _Worded(store, place)
            with _in_words(place):
                store.close()
                _check_free(place)
        except BaseException:
            if store is not None:
                with suppress(Exception):  # it could not be written, so it cannot always be closed
                    store.close()
            raise


def read_groups(path: str | os.PathLike) -> dict[str, Any]:
    """The groups of a file or folder as xarray data sets, "" for the root; arrays are read when they are used."""
    import xarray

    engine = "h5netcdf" if Path(path).suffix in NETCDF else "zarr"
    tree = xarray.open_datatree(path, engine=engine)
    return {node.path.strip("/"): node.to_dataset(inherit=False) for node in tree.subtree}


def checked_path(path: str | os.PathLike) -> Path:
    """The path of a new file or folder."""
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise ArgumentError(f"{argument('out', path)}; give the name of a file or folder.")
    place = Path(path)
    if place.suffix not in (*NETCDF, *ZARR):
        raise ArgumentError(
            f"{argument('out', str(path))}: its name must end in .nc (a netCDF file) or .zarr (a Zarr folder)."
        )
    _check_free(place)
    if place.suffix in ZARR:
        try:
            import zarr  # noqa: F401 - whether it is there
        except ImportError:
            raise ArgumentError(
                f"{argument('out', str(path))}: Zarr is not installed; pip install 'pyrovae[zarr]', "
                "or write a .nc file."
            ) from None
    return place


def _check_free(place: Path) -> None:
    if os.path.lexists(place):  # a link that leads nowhere, too; what cannot be looked at shows when it is written
        raise FileError(f"{place} exists and is left as it is; choose another name, or remove it.")


def _in_words(place: Path) -> AbstractContextManager[None]:
    return file_errors(place, "cannot be written", "What was written of it is removed.")


class _Worded:
    """A store whose errors name the path."""

    def __init__(self, store: Store, place: Path):
        self.store, self.place = store, place

    def create(self, new: NewArray) -> None:
        with _in_words(self.place):
            self.store.create(new)

    def write(self, group: str, name: str, index: tuple[slice, ...], values: Any) -> None:
        with _in_words(self.place):
            self.store.write(group, name, index, values)

    def close(self) -> None:
        """Nothing: the block's end closes."""
