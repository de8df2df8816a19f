"""Arrays on disk, written part by part: a netCDF file or a Zarr folder that appears only when it is whole.

What is being written has a name that nobody can foresee, with `.partial` at its end. It is renamed at the end, and
removed where something goes wrong on the way; only a process that is killed leaves it behind.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import file_errors, moved_when_whole, partial_of
from pyrovae.errors import ArgumentError, FileError, argument

NETCDF, ZARR = (".nc", ".netcdf", ".h5netcdf"), (".zarr",)

_CHUNK = 2**20  # numbers in a piece that is read or written at once: 4 MiB in single precision


class Store(Protocol):
    """Where arrays are written to: groups of arrays with named dims."""

    def create(
        self,
        group: str,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        dims: Sequence[str],
        attributes: Mapping,
        chunks: Sequence[int] | None = None,
    ) -> None:
        """Make room for an array; an axis of length 0 grows with what is written, which comes in parts of `chunks`."""
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

    def create(
        self,
        group: str,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        dims: Sequence[str],
        attributes: Mapping,
        chunks: Sequence[int] | None = None,
    ) -> None:
        with _in_words(self.place):
            self.store.create(group, name, shape, dtype, dims, attributes, chunks)

    def write(self, group: str, name: str, index: tuple[slice, ...], values: Any) -> None:
        with _in_words(self.place):
            self.store.write(group, name, index, values)

    def close(self) -> None:
        """Nothing: the block's end closes."""


# --- netCDF -------------------------------------------------------------------------------------------
class NetCDF:
    """A netCDF file."""

    def __init__(self, path: Path, groups: Mapping[str, Any]):
        import h5netcdf

        self.disk = _Disk(path, "x+")
        self.file = h5netcdf.File(self.disk, "w")
        try:
            for name, dataset in groups.items():
                self._write_group(name, dataset)
        except BaseException:
            with suppress(Exception):
                self.close()  # HDF5 does not outlive a file that is open when the process ends
            raise

    def create(
        self,
        group: str,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        dims: Sequence[str],
        attributes: Mapping,
        chunks: Sequence[int] | None = None,
    ) -> None:
        """Make room for an array."""
        place = self._group(group)
        for dim, length in zip(dims, shape, strict=True):
            if dim not in place.dimensions:
                place.dimensions[dim] = length or None
        kind, more = _plain(np.dtype(dtype))
        variable = place.create_variable(name, tuple(dims), kind, chunks=tuple(chunks or _chunks(shape)) or None)
        variable.attrs.update({**attributes, **more})
        self.disk.check()

    def write(self, group: str, name: str, index: tuple[slice, ...], values: Any) -> None:
        """Fill a part of an array."""
        place = self._group(group)
        variable = place.variables[name]
        for dim, part in zip(variable.dimensions, index, strict=True):
            if place.dimensions[dim].isunlimited() and place.dimensions[dim].size < part.stop:
                place.resize_dimension(dim, part.stop)
        variable[index or ...] = np.asarray(values)
        self.disk.check()

    def _write_group(self, name: str, dataset: Any) -> None:
        # Not by xarray's `to_netcdf`, which writes past `_Disk` or, into memory, leaves files open behind it.
        from xarray import conventions

        variables, attributes = conventions.encode_dataset_coordinates(dataset)
        self._group(name).attrs.update(attributes)
        for key, variable in variables.items():
            plain = conventions.encode_cf_variable(variable, name=key)
            values = np.asarray(plain.values)
            values = values.astype(object) if values.dtype.kind in "USO" else values
            self.create(name, str(key), values.shape, values.dtype, [str(d) for d in plain.dims], plain.attrs)
            self.write(name, str(key), tuple(slice(0, length) for length in values.shape), values)

    def _group(self, group: str) -> Any:
        if not group:
            return self.file
        return self.file.groups[group] if group in self.file.groups else self.file.create_group(group)

    def close(self) -> None:
        """Write everything out."""
        self.file.close()
        self.disk.close()
        self.disk.check()


def _plain(dtype: np.dtype) -> tuple[Any, dict[str, str]]:
    """A type that netCDF has, and what xarray writes beside it."""
    import h5py

    if dtype.kind == "O":
        return h5py.string_dtype(), {}
    return (np.int8, {"dtype": "bool"}) if dtype.kind == "b" else (dtype, {})


class _Disk(io.FileIO):
    """A file that keeps the error of a disk that is full to itself until it is asked.

    HDF5 does not outlive such an error: it goes on writing from its caches, and ends the process by a segmentation
    fault where it cannot.
    """

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        try:
            done = 0
            while self.failure is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size) if self.failure is None else size or 0
        except OSError as error:
            self.failure = error
            return size or 0

    def check(self) -> None:
        """Raise what went wrong."""
        if self.failure is not None:
            raise self.failure


# --- Zarr ---------------------------------------------------------------------------------------------
class Zarr:
    """A Zarr folder."""

    def __init__(self, path: Path, groups: Mapping[str, Any]):
        import zarr

        self.path = str(path)
        path.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts, whose form is not in Zarr's standard yet
            _tree(groups).to_zarr(path, consolidated=False)
        self.root = zarr.open_group(self.path, mode="a")

    def create(
        self,
        group: str,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        dims: Sequence[str],
        attributes: Mapping,
        chunks: Sequence[int] | None = None,
    ) -> None:
        """Make room for an array."""
        self._group(group).create_array(
            name,
            shape=tuple(shape),
            dtype=dtype,
            chunks=tuple(chunks or _chunks(shape)),
            dimension_names=list(dims),
            attributes=dict(attributes),
        )

    def write(self, group: str, name: str, index: tuple[slice, ...], values: Any) -> None:
        """Fill a part of an array."""
        array = self._group(group)[name]
        grown = tuple(max(length, part.stop or 0) for length, part in zip(array.shape, index, strict=True))
        if grown != array.shape:
            array.resize(grown)
        array[index] = np.asarray(values)

    def _group(self, group: str) -> Any:
        return self.root.require_group(group) if group else self.root

    def close(self) -> None:
        """Write where everything is; every part is on disk when it is written."""
        import zarr

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is not in Zarr's standard; xarray warns where it is missing
            zarr.consolidate_metadata(self.path)


# --- both ---------------------------------------------------------------------------------------------
def _tree(groups: Mapping[str, Any]) -> Any:
    import xarray

    return xarray.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """The whole of the last axes, as far as they fit, and a part of the one before."""
    chunks, room = [], _CHUNK
    for length in reversed(shape):
        chunks.append(max(1, min(length or 256, room)))
        room = max(1, room // chunks[-1])
    return tuple(reversed(chunks))
