"""A Zarr folder, written part by part."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.prediction.new_array import NewArray


class Zarr:
    """A Zarr folder."""

    def __init__(self, path: Path, groups: Mapping[str, Any]):
        import zarr

        path.mkdir()
        self._files, self._writes = _files(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of texts, whose form is not in Zarr's standard yet
                _tree(groups).to_zarr(self._files, consolidated=False)
            self.root = zarr.open_group(self._files, mode="a")
        except BaseException:
            self._writes.end()
            raise

    def create(self, new: NewArray) -> None:
        """Make room for an array."""
        self._group(new.group).create_array(
            new.name,
            shape=tuple(new.shape),
            dtype=new.dtype,
            chunks=new.pieces(),
            dimension_names=list(new.dims),
            attributes=dict(new.attributes),
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

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that this is not in Zarr's standard; xarray warns where it is missing
                zarr.consolidate_metadata(self._files)
        finally:
            self._writes.end()


class _Writes:
    """The writes that are going on, in Zarr's own threads.

    Zarr gives up at the first that fails and leaves the others to themselves: they would make their files in a folder
    that is being removed, and the folder anew behind that.
    """

    def __init__(self) -> None:
        self._changed, self._going, self._ended = threading.Condition(), 0, False

    def __enter__(self) -> None:
        with self._changed:
            if self._ended:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._going += 1

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._going -= 1
            self._changed.notify_all()

    def end(self) -> None:
        """Wait until none is going on, and let none begin."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: self._going == 0)


def _files(path: Path) -> tuple[Any, _Writes]:
    """Zarr's store of a folder, and the writes to it."""
    from zarr.storage import LocalStore

    writes = _Writes()

    class Files(LocalStore):
        async def set(self, *words: Any, **more: Any) -> None:
            with writes:
                await super().set(*words, **more)

        async def set_if_not_exists(self, *words: Any, **more: Any) -> None:
            with writes:
                await super().set_if_not_exists(*words, **more)

    return Files(path), writes


def _tree(groups: Mapping[str, Any]) -> Any:
    import xarray

    return xarray.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})
