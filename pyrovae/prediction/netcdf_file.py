"""A netCDF file, written part by part."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.prediction.new_array import NewArray


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

    def create(self, new: NewArray) -> None:
        """Make room for an array."""
        place = self._group(new.group)
        for dim, length in zip(new.dims, new.shape, strict=True):
            if dim not in place.dimensions:
                place.dimensions[dim] = length or None
        kind, more = _plain(np.dtype(new.dtype))
        variable = place.create_variable(new.name, tuple(new.dims), kind, chunks=new.pieces() or None)
        variable.attrs.update({**new.attributes, **more})
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
            dims = [str(dim) for dim in plain.dims]
            self.create(NewArray(name, str(key), values.shape, values.dtype, dims, plain.attrs))
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
