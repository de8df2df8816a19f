"""What `fit` takes as data, cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from pyrovae.data.batch_sources import Batch, nothing
from pyrovae.data.grouped_order import grouped_order
from pyrovae.data.inspection import Leaf
from pyrovae.data.order_generator import order_generator
from pyrovae.data.row_weights import row_weights, weighted_order
from pyrovae.data.source_of import own_loader, source_of
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.argument_names import argument_words
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import check_count

# As in most published VAEs (100 to 128): large enough that a step is not all overhead.
_BATCH_SIZE = 128


class Batches:
    """Data as batches whose order can be made again at any time.

    Attributes:
        rows: how many data one epoch has; None where that is not known.
        batch_size: of every batch but the last; None where a DataLoader's own batch sampler decides.
        batches_per_epoch: how many batches one epoch has; None where that is not known.
        random_access: whether any row can be had at any time.
        generators: the DataLoader's own generators; what they hold at an epoch's start decides its order.
        weights: how often an epoch meets each row, of mean 1; None where it meets each once.
        lengths: of each row, where those of a batch are to be of about one length.
    """

    lengths: torch.Tensor | None = None

    def __init__(
        self,
        source: Any,
        *,
        batch_size: int | None,
        transform: Any = None,
        seed: int = 0,
        weights: torch.Tensor | None = None,
    ):
        self.source = source
        self.weights = weights
        self.batch_size = batch_size
        self.transform = transform
        self.seed = seed
        self.rows: int | None = source.rows
        self.random_access: bool = source.random_access
        self.generators: tuple[torch.Generator, ...] = source.generators

    @property
    def batches_per_epoch(self) -> int | None:
        """How many batches one epoch has, the last and smaller one counted."""
        if not self.random_access:
            return self.source.batches(self.batch_size)
        return -(-self.source.rows // (self.batch_size or 1))

    def leaves(self) -> dict[int | str, Leaf]:
        """The arrays by position or name, as they were given; empty where the data are not arrays."""
        return self.source.arrays

    def first(self, count: int | None = None) -> Batch:
        """The first rows in order, the same at every call; no random number is used up.

        Args:
            count: how many; left out, one batch.
        """
        count = check_count("count", count) if count is not None else self.batch_size or _BATCH_SIZE
        with forked_random(self.seed % 2**32):
            taken = self.source.take(slice(0, count)) if self.random_access else self.source.head(count)
            return self.transformed(taken)

    def epoch(self, index: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, shuffled by a generator of their own that `seed` and `index` start.

        A DataLoader keeps its own order and an IterableDataset its own too; their first `skip` batches are
        loaded and dropped before this returns.

        Args:
            index: which epoch, counted from 0.
            skip: how many batches to leave out at its start, without loading them where possible.

        Returns:
            An iterator over batches.
        """
        if not self.random_access:
            return self._streamed(self.source.stream(self.batch_size, skip), whole=not skip)
        if self.source.own_order and self.batches_per_epoch != 1:
            passing = self.source.shuffled(self.batch_size or 1, self.seed, index, skip)
            return (self.transformed(batch)._replace(positions=batch.positions) for batch in passing)
        if self.weights is not None:
            order = weighted_order(self.weights, order_generator(self.seed, index))
        elif self.batches_per_epoch == 1:
            # Of one batch the order means nothing for the gradient, and much for a pair that holds something by row.
            order = torch.arange(self.source.rows)
        else:
            order = torch.randperm(self.source.rows, generator=order_generator(self.seed, index))
        if self.lengths is not None and self.batches_per_epoch != 1:
            generator = order_generator(self.seed, index, "lengths")
            order = grouped_order(order, self.lengths, self.batch_size or 1, generator)
        if len(devices := {getattr(leaf, "device", "cpu") for leaf in self.leaves().values()}) == 1:
            order = order.to(devices.pop())  # once, so that no batch waits for its indices
        chunks = order.split(self.batch_size or 1)[skip:]
        return (self.take(chunk) for chunk in chunks)

    def take(self, rows: torch.Tensor) -> Batch:
        """These rows, of data with random access."""
        return self.transformed(self.source.take(rows))._replace(positions=rows)

    def peek(self, rows: torch.Tensor) -> Batch:
        """The same, and no random number is used up."""
        with forked_random(0):
            return self.take(rows)

    def in_order(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Every row once, not shuffled.

        Args:
            batch_size: left out, that of the training batches.
        """
        size = check_count("batch_size", batch_size) if batch_size is not None else self.batch_size
        if not self.random_access:
            return self._streamed(self.source.ordered(size), whole=True)
        chunks = torch.arange(self.source.rows).split(size or 1)
        return (self._taken(chunk) for chunk in chunks)

    def _taken(self, chunk: torch.Tensor) -> Batch:
        """Neighbouring rows; a slice, so that a mapped file is read in one piece."""
        rows = slice(int(chunk[0]), int(chunk[-1]) + 1)
        return self.transformed(self.source.take(rows))._replace(positions=chunk)

    def repeatable(self) -> bool:
        """Whether the first row comes out the same twice from the same random state, the transform left out.

        A Dataset with random numbers of its own makes a resumed run another run.
        """
        if self.leaves():
            return True
        draws = []
        for _ in range(2):
            with forked_random(0):
                draws.append(self.source.take(slice(0, 1)) if self.random_access else self.source.head(1))
        one, other = (batch.leaves for batch in draws)
        return one.keys() == other.keys() and all(
            torch.allclose(one[name], other[name], rtol=0, atol=0, equal_nan=True) for name in one
        )

    def _streamed(self, stream: Iterator[Batch], *, whole: bool) -> Iterator[Batch]:
        count = 0
        for count, batch in enumerate(stream, 1):  # noqa: B007 - counted for what comes after
            yield self.transformed(batch)
        if whole and not count:
            nothing("the data")

    def transformed(self, batch: Batch) -> Batch:
        """The batch as the pair gets it."""
        if self.transform is None:
            return batch
        if batch.kwargs:
            result = self.transform(**batch.kwargs)
        else:
            result = self.transform(*batch.args)
            result = (result,) if isinstance(result, torch.Tensor) else result
        return _checked_result(result, batch)


def as_batches(
    data: Any,
    *,
    batch_size: int | None = None,
    transform: Callable[..., Any] | None = None,
    seed: int = 0,
    weights: Any = None,
) -> Batches:
    """Cut data into batches.

    Args:
        data: a tensor or array for `model(x)`, a tuple of them for `model(*data)`, a dict of them for
            `model(**data)`; the first dimension of each counts the rows. Or a torch Dataset, an
            IterableDataset, or a DataLoader, whose items are read in the same way.
        batch_size: left out, 128; not with a DataLoader, which has its own.
        transform: called with each batch as the model would be; returns as many tensors, of as many rows.
        seed: of the order.
        weights: how often an epoch meets each row, in proportion; left out, once.

    Returns:
        The batches; arrays are kept as they are and never copied whole.

    Raises:
        ArgumentError: a batch size that is not one, or given beside a DataLoader.
        DataError: data that cannot be trained on.

    Examples:
        >>> import torch
        >>> from pyrovae.data.batches import as_batches
        >>> data = as_batches(torch.arange(6), batch_size=4, seed=1)
        >>> data.rows, data.batches_per_epoch
        (6, 2)
        >>> [batch.args[0].tolist() for batch in data.epoch(0)] == [b.args[0].tolist() for b in data.epoch(0)]
        True
        >>> data.first(2).args
        (tensor([0, 1]),)
    """
    if transform is not None and not callable(transform):
        raise ArgumentError(f"transform is a {type(transform).__name__}; give a function of a batch")
    data = own_loader(data)
    if isinstance(data, DataLoader) and batch_size is not None:
        raise ArgumentError(f"{argument('batch_size')} is given and the DataLoader has its own; leave it out")
    size = _BATCH_SIZE if batch_size is None else check_count("batch_size", batch_size)
    size = data.batch_size if isinstance(data, DataLoader) else size
    source = source_of(data)
    if weights is not None and source.own_order:
        raise ArgumentError(
            f"{argument('row_weights')} needs data of which any row can be had: arrays, frames or a Dataset. A "
            "DataLoader has a sampler of its own (torch.utils.data.WeightedRandomSampler)."
        )
    known = None if weights is None else row_weights(weights, source.rows)
    return Batches(source, batch_size=size, transform=transform, seed=seed, weights=known)


def tile_size(data: Any, rows: int | None) -> int | None:
    """How many rows to take at a time; of a DataLoader as many as it gives."""
    return None if isinstance(own_loader(data), DataLoader) else rows


def _checked_result(result: Any, batch: Batch) -> Batch:
    named = dict(enumerate(result)) if isinstance(result, tuple | list) else result
    if not isinstance(named, dict) or not all(isinstance(leaf, torch.Tensor) for leaf in named.values()):
        raise ArgumentError(f"transform returned {_shape_words(result)}; return tensors as the batch holds them")
    leaves: dict[Any, torch.Tensor] = dict(named)
    if set(leaves) != set(batch.leaves):
        raise ArgumentError(
            f"transform returned {', '.join(map(argument_words, leaves)) or 'nothing'} "
            f"for {', '.join(map(argument_words, batch.leaves))}; return the same arguments"
        )
    for name, leaf in leaves.items():
        if leaf.ndim == 0 or len(leaf) != batch.rows:
            raise ArgumentError(
                f"transform returned {argument_words(name)} with shape {tuple(leaf.shape)} for a batch of {batch.rows} "
                "rows; return as many rows"
            )
    return Batch.of({name: leaves[name] for name in batch.leaves})


def _shape_words(result: Any) -> str:
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__} of {', '.join(type(item).__name__ for item in result) or 'nothing'}"
    return "None" if result is None else f"a {type(result).__name__}"
