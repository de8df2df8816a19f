"""A Zarr folder, written part by part."""

from __future__ import annotations

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

        self.path = str(path)
        path.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts, whose form is not in Zarr's standard yet
            _tree(groups).to_zarr(path, consolidated=False)
        self.root = zarr.open_group(self.path, mode="a")

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

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is not in Zarr's standard; xarray warns where it is missing
            zarr.consolidate_metadata(self.path)


def _tree(groups: Mapping[str, Any]) -> Any:
    import xarray

    return xarray.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})
