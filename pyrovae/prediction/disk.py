"""Results that go to a file as they come."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from pyrovae.prediction.arrays import ArrayPart, Key
from pyrovae.prediction.new_array import NewArray
from pyrovae.prediction.store import Store

_LARGEST = 2**24  # numbers in a piece of a file, which are written at once: 64 MiB in single precision


class Disk:
    """Results in a store: a variable for each site, `site_mean` and so on where draws are reduced.

    Args:
        store: a file or folder that is being written.
        rows: how many data there are; None where that shows only at the end.
        draws: how many draws.
    """

    def __init__(self, store: Store, rows: int | None, draws: int):
        self.store, self.rows, self.draws = store, rows, draws
        self.names: dict[Key, str] = {}
        self._lengths: dict[str, int] = {"draw": draws}

    def put(self, part: ArrayPart) -> None:
        """Write a part."""
        if part.key not in self.names:
            self._create(part)
        places = [slice(0, length) for length in part.value.shape]
        if part.draws is not None:
            places[0] = slice(part.draws.start, part.draws.stop)
        if part.axis is not None:
            places[part.axis] = slice(part.rows.start, part.rows.stop)
        self.store.write("", self.names[part.key], tuple(places), _array(part.value))

    def _create(self, part: ArrayPart) -> None:
        name = self.names[part.key] = self._fresh_name(part.key)
        shape, chunks = list(part.value.shape), list(part.value.shape)
        if part.draws is not None:
            shape[0] = self.draws
        if part.axis is not None:
            shape[part.axis] = self.rows or 0
        attributes = {"site": part.key.name, **({"reduced_to": part.key.field} if part.key.field else {})}
        fits = 0 < np.prod(chunks) <= _LARGEST
        dims, dtype = self._dims(part, shape), _array(part.value).dtype
        self.store.create(NewArray("", name, shape, dtype, dims, attributes, chunks if fits else None))

    def _fresh_name(self, key: Key) -> str:
        """A slash would be a group in a file, and a dim's name makes a coordinate of a variable."""
        name = "_".join(filter(None, key)).replace("/", ".")
        while name in (*self.names.values(), *self._lengths):
            name += "_"
        return name

    def _dims(self, part: ArrayPart, shape: Sequence[int]) -> list[str]:
        lead = ["draw"] if part.draws is not None else ["quantile"] if part.key.field == "quantiles" else []
        found, free, site = list(lead), itertools.count(), part.key.name.replace("/", ".")
        for plate, length in zip(part.plates, shape[len(lead) :], strict=True):
            name = self._plate_name(plate)
            # A site that a plate only broadcasts has one value there.
            known = name is not None and self._lengths.setdefault(name, length) == length
            found.append(name if known and name is not None else f"{site}_dim_{next(free)}")
        return found

    def _plate_name(self, plate: str | None) -> str | None:
        name = plate and plate.replace("/", ".")
        return f"{name}_plate" if name in (*self.names.values(), "draw", "quantile") else name


def _array(value: torch.Tensor) -> np.ndarray:
    value = value.cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
