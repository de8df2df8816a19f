"""A digest of all data, streamed once: what has changed in any row shows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, default_collate

from pyrovae.data.batch_sources import Batch, DatasetSource, NoSource, collate, items, length
from pyrovae.data.batches import Batches
from pyrovae.data.blocks.on_disk import OnDisk
from pyrovae.data.inspection import Leaf
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.looks.isolation import forked_random

_BYTES = 1 << 24  # of an array that are read at once

_ROWS = 128  # of a Dataset that are read at once, where no batch size says how many fit into memory

# Seconds for which the items of a Dataset are read, which may be files: what was not reached is not compared.
_BEARABLE = 30.0


class DataDigest(NamedTuple):
    """What is in data.

    Attributes:
        digests: of each argument's values.
        read: how many rows they are of; 0 where nothing can be compared.
        words: the same for people.
    """

    digests: dict[str, str]
    read: int
    words: str


def array_digest(array: Leaf) -> str:
    """A digest of every number of an array or a tensor, wherever it lies and however it is laid out."""
    whole = hashlib.sha256()
    for piece in _pieces(array):
        whole.update(piece)
    return whole.hexdigest()[:32]


def _pieces(array: Leaf) -> Iterator[Any]:
    rows = len(array) if array.ndim else 1
    array = array if array.ndim else array.reshape(1)
    size = rows * array[:1].nbytes if rows else 0
    step = max(1, rows * _BYTES // max(size, 1))
    return (_bytes(array[start : start + step]) for start in range(0, rows, step))


def _bytes(part: Leaf) -> Any:
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu().resolve_conj().resolve_neg().reshape(-1).contiguous()
        return part.view(torch.uint8).numpy().data
    return np.ascontiguousarray(part).reshape(-1).view(np.uint8).data


def data_digest(batches: Batches, *, read: int | None = None) -> DataDigest:
    """The digest of all that batches are cut from; the transform is left out, and no random number is used up.

    Args:
        batches: the data.
        read: how many rows of a Dataset to read; left out, as many as can be read in half a minute.
    """
    if isinstance(batches.source, NoSource):
        return DataDigest({}, 1, "all 1 rows")
    if batches.leaves():
        rows = batches.rows or 0
        digests = {str(name): array_digest(leaf) for name, leaf in batches.leaves().items()}
        return DataDigest(digests, rows, f"all {rows:,} rows")
    try:
        with forked_random(0):
            return _of_rows(_Rows(batches), read)
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        return DataDigest({}, 0, f"nothing, because its items cannot be read one by one ({words})")


class _Rows:
    """The rows of a Dataset, a DataLoader or a stream, in an order of their own."""

    def __init__(self, batches: Batches):
        self.batches = batches
        loader = getattr(batches.source, "loader", None)
        self.dataset = loader.dataset if loader is not None else batches.source.dataset
        self.indexed = not isinstance(self.dataset, IterableDataset)
        self.rows = length(self.dataset) if self.indexed else None
        self.collate: Any = loader.collate_fn if loader is not None else default_collate
        self.single = loader is not None and loader.batch_size is None and loader.batch_sampler is None

    def chunks(self) -> Iterator[tuple[int, Batch]]:
        """So many rows at a time, spread over the whole; of a stream the first ones alone."""
        if isinstance(self.dataset, OnDisk):
            yield from ((batch.rows, batch) for batch in self._blocks(self.dataset))
            return
        if self.rows is None:
            if self.batches.repeatable():
                first = self.batches.source.head(self.batches.batch_size or _ROWS)
                yield first.rows, first
            return
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(0))
        for rows in order.split(1 if self.single else self.batches.batch_size or _ROWS):
            yield len(rows), self._taken(rows)

    @staticmethod
    def _blocks(data: OnDisk) -> Iterator[Batch]:
        order = torch.randperm(len(data.reader.sizes), generator=torch.Generator().manual_seed(0))
        return (Batch.of(data.read(block)) for block in order.tolist())

    def _taken(self, rows: torch.Tensor) -> Batch:
        source = self.batches.source
        if isinstance(source, DatasetSource):
            return source.take(rows)
        taken = items(self.dataset, rows.tolist())
        return collate(taken, (lambda one: self.collate(one[0])) if self.single else self.collate, "the DataLoader")

    def words(self, read: int) -> str:
        """What was looked at."""
        if not read:
            return "nothing, because it gives other values each time"
        if self.rows is None:
            return f"the first {read:,} rows, because it can be read in its own order alone"
        if read < self.rows:
            return f"{read:,} of {self.rows:,} rows, as many as could be read in {_BEARABLE:g} seconds"
        return f"all {read:,} rows"


def _of_rows(rows: _Rows, wanted: int | None) -> DataDigest:
    hashes: dict[str, Any] = {}
    read, until = 0, time.monotonic() + _BEARABLE
    for count, batch in rows.chunks():
        for name, leaf in batch.leaves.items():
            known = hashes.setdefault(str(name), hashlib.sha256())
            known.update(f"{tuple(leaf.shape)} {leaf.dtype}".encode())
            known.update(array_digest(leaf).encode())
        read += count
        if read >= wanted if wanted is not None else time.monotonic() > until:
            break
    return DataDigest({name: known.hexdigest()[:32] for name, known in hashes.items()}, read, rows.words(read))


def changed_values(before: DataDigest, now: DataDigest) -> str | None:
    """Which arguments have other values, in words; None where they are the same as far as they were compared."""
    if not before.read or not now.read or before.digests == now.digests:
        return None
    names = [name for name in {**before.digests, **now.digests} if before.digests.get(name) != now.digests.get(name)]
    return ", ".join(argument_words(int(name) if name.isdecimal() else name) for name in names)
