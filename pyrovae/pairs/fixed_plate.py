"""The index of the data plate, given from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.pairs.lawful_values import fill_hidden
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.trace import batch_rows


class FixedPlate(Wrapped):
    """A pair whose data plate is given the rows of the batch as its subsample.

    `plate(size=N, subsample_size=len(x))` would draw a permutation of N at each pass, of which only the
    length is used. `index` is that of the batch's own rows, so that what the model indexes by it belongs to
    the same data; None counts from 0.
    """

    def __init__(self, pair: HasPair, data_plate: str | None):
        self.pair = pair
        self.data_plate = data_plate
        self._index: torch.Tensor | None = None
        self._largest = -1

    @property
    def index(self) -> torch.Tensor | None:
        """The rows of the data that the batch holds."""
        return self._index

    @index.setter
    def index(self, value: torch.Tensor | None) -> None:
        self._index = value
        self._largest = -1 if value is None else int(value.max())

    @contextmanager
    def given(self, index: torch.Tensor | None) -> Iterator[None]:
        """The same index as another tensor, whose values are not looked at: the input of a graph."""
        held, self._index = self._index, index
        try:
            yield
        finally:
            self._index = held

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Messenger:
        """The index in the data plate."""
        return _Index(self, batch_rows(args, kwargs))


class _Index(Messenger):
    def __init__(self, fixed: FixedPlate, rows: int | None):
        super().__init__()
        self.name, self.index, self.largest, self.rows = fixed.data_plate, fixed._index, fixed._largest, rows

    def _pyro_sample(self, msg) -> None:
        fill_hidden(msg)  # here, since every handler costs time in every step
        if msg["name"] != self.name or not site_is_subsample(msg) or msg["value"] is not None:
            return
        size = msg["fn"].size
        wanted = size if msg["fn"].subsample_size is None else msg["fn"].subsample_size
        if wanted != self.rows:
            return
        chosen = torch.arange(wanted)
        if self.index is not None and len(self.index) == wanted and self.largest < size:
            chosen = self.index  # all rows at once come shuffled, too
        msg["value"] = chosen.to(msg["fn"].device)
        msg["done"] = True
