"""Where parts are put together: in memory, or in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.export.group_contents import GROUPS, VariablePart
from pyrovae.export.variable_names import VariableNames, array, variable_name
from pyrovae.prediction.new_array import NewArray
from pyrovae.prediction.store import Store


class GroupsInMemory:
    """Groups as xarray data sets in memory.

    Args:
        names: the variables and their dims.
        attributes: of every group.
    """

    def __init__(self, names: VariableNames, attributes: Mapping[str, Any]):
        self.names, self.attributes = names, attributes
        _check_room(names)
        self._arrays = {key: np.empty(one.shape, one.dtype) for key, one in names.variables.items()}

    def put(self, part: VariablePart) -> None:
        """Take in a part."""
        self._arrays[part.group, part.name][index_of(part)] = _placed(part)

    def groups(self) -> dict[str, Any]:
        """What was put in."""
        found = skeletons(self.names, self.attributes)
        for (group, name), values in self._arrays.items():
            variable = self.names.variables[group, name]
            found[group][variable_name(name)] = (variable.dims, values, dict(variable.attributes))
        return found


class GroupsOnDisk:
    """Groups in a store."""

    def __init__(self, names: VariableNames, store: Store):
        self.store = store
        for (group, name), one in names.variables.items():
            new = NewArray(group, variable_name(name), one.shape, one.dtype, one.dims, one.attributes, one.part)
            store.create(new)

    def put(self, part: VariablePart) -> None:
        """Take in a part."""
        values = _placed(part)
        index = tuple(
            place if place != slice(None) else slice(0, length)
            for place, length in zip(index_of(part), values.shape, strict=True)
        )
        self.store.write(part.group, variable_name(part.name), index, values)


def skeletons(names: VariableNames, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The groups with their coordinates, and nothing in them yet."""
    import xarray

    there = [group for group in GROUPS if any(place == group for place, _ in names.variables)]
    return {group: xarray.Dataset(coords=names.coordinates(group), attrs=dict(attributes)) for group in there}


def index_of(part: VariablePart) -> tuple[slice, ...]:
    """Where a part stands in its variable."""
    own = part.value.ndim - (part.draws is not None)
    places = [slice(None)] * own
    if part.axis is not None:
        places[part.axis] = slice(part.rows.start, part.rows.stop)
    if part.draws is None:
        return tuple(places)
    return slice(0, 1), slice(part.draws.start, part.draws.stop), *places


def _placed(part: VariablePart) -> np.ndarray:
    values = array(part.value)
    return values[np.newaxis] if part.draws is not None else values


def _check_room(names: VariableNames) -> None:
    sizes = {key: one.dtype.itemsize * int(np.prod(one.shape, dtype=object)) for key, one in names.variables.items()}
    if sum(sizes.values()) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        group, name = max(sizes, key=lambda key: sizes[key])
        raise ArgumentError(
            f"the groups take {sum(sizes.values()) / 2**30:,.0f} GiB, more than this machine's memory, most of it "
            f"{name!r} in {group}. Write them to a file (out='results.zarr'), ask for fewer draws, or name the groups "
            "that you need (groups=)."
        )
