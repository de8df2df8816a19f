"""What yields the rows of whatever a user gives."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pyrovae.data.batch_sources import ArraySource, DatasetSource, LoaderSource, NoSource, StreamSource
from pyrovae.data.blocks.block_source import BlockSource
from pyrovae.data.blocks.on_disk import as_on_disk
from pyrovae.data.inspection import leaves_of
from pyrovae.data.sparse_rows import sparse_rows
from pyrovae.errors import DataError


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


def own_loader(data: Any) -> Any:
    """The `DataLoader` in a `WebLoader`, whose items are batches where those of other streams are rows."""
    kind = type(data)
    if kind.__name__ != "WebLoader" or not kind.__module__.startswith("webdataset"):
        return data
    first, *more = data.pipeline
    if more or not isinstance(first, DataLoader):
        raise DataError(
            "the WebLoader has stages behind its loader (shuffle, batched, with_epoch), whose items may be rows or "
            "batches. Put them into the WebDataset before it, or give a torch DataLoader of the WebDataset."
        )
    return first


def reads_several(data: Any) -> bool:
    """Whether it is a `Dataset`, or one of another library, which gives rows by their numbers."""
    return isinstance(data, Dataset) or (hasattr(data, "__getitems__") and hasattr(data, "__len__"))
