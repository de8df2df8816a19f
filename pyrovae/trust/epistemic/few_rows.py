"""A few rows of the data that a pair is made for."""

from __future__ import annotations

from typing import Any

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.data.placement import placed
from pyrovae.data.rows_of_frames import rows_of_frames
from pyrovae.errors import PairError
from pyrovae.pairs.pair import HasPair
from pyrovae.training.saved.weight_files import initialise, keep_shapes

_FEW = 8  # rows that a pair is looked at with


def few_rows(pair: HasPair, data: Any) -> tuple[Batch, int | None]:
    """A few rows as the pair takes them, and how many rows there are; parameters of a first call exist afterwards."""
    data = rows_of_frames(pair, data)
    batches = as_batches(data[0] if isinstance(data, tuple) and len(data) == 1 else data)
    counts = (
        dict.fromkeys([min(_FEW, batches.rows), batches.rows]) if batches.random_access and batches.rows else [None]
    )
    refused: PairError | None = None
    for count in counts:  # a pair with one parameter for each row takes all of them or none
        first = batches.first(count)
        try:
            initialise(pair, first)
        except PairError as error:
            refused = error
            continue
        keep_shapes(pair, first)
        return placed(pair, first).place(first), batches.rows
    assert refused is not None
    raise refused
