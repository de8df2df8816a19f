"""What yields the rows of whatever a user gives."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyrovae.data.batch_sources import ArraySource, DatasetSource, LoaderSource, NoSource, StreamSource
from pyrovae.data.blocks.block_source import BlockSource
from pyrovae.data.blocks.on_disk import as_on_disk
from pyrovae.data.inspection import leaves_of
from pyrovae.data.sparse_rows import sparse_rows


def source_of(data: Any) -> Any:
    """What yields the rows of whatever a user gives."""
    if isinstance(data, DataLoader):
        return LoaderSource(data)
    if isinstance(data, tuple) and not data:
        return NoSource()
    if type(data) is TensorDataset:  # the tensors at once, rather than row by row
        return ArraySource(leaves_of(data.tensors))
    if (rows := as_on_disk(data)) is not None:
        return BlockSource(rows)
    if isinstance(data, IterableDataset):
        return StreamSource(data)
    if (rows := sparse_rows(data)) is not None:
        return DatasetSource(rows)
    if reads_several(data):
        return DatasetSource(data)
    return ArraySource(leaves_of(data))


def reads_several(data: Any) -> bool:
    """Whether it is a `Dataset`, or one of another library, which gives rows by their numbers."""
    return isinstance(data, Dataset) or (hasattr(data, "__getitems__") and hasattr(data, "__len__"))
