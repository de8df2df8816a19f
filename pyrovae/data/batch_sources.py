"""Where batches come from: arrays, a torch Dataset, a stream, a DataLoader.

A source says whether any row can be had at any time (`random_access`), and whether the order of an epoch is its own
(`own_order`) or drawn by `Batches`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from pyrovae.data.inspection import Leaf, leaves_of, pick
from pyrovae.errors import DataError
from pyrovae.pairs.argument_names import argument_words


class Batch(NamedTuple):
    """What one call of model and guide gets: `model(*batch.args, **batch.kwargs)`."""

    args: tuple[torch.Tensor, ...]
    kwargs: dict[str, torch.Tensor]
    positions: torch.Tensor | None = None  # which rows of the data these are, where that is known

    @classmethod
    def of(cls, leaves: Mapping[Any, torch.Tensor]) -> Batch:
        """A batch of tensors by position or name."""
        return cls(
            tuple(leaf for name, leaf in leaves.items() if not isinstance(name, str)),
            {name: leaf for name, leaf in leaves.items() if isinstance(name, str)},
        )

    @property
    def leaves(self) -> dict[int | str, torch.Tensor]:
        """The tensors by position or name."""
        return {**dict(enumerate(self.args)), **self.kwargs}

    @property
    def rows(self) -> int:
        """How many data are in it; one, the whole, where the pair takes no arguments."""
        return len(next(iter(self.leaves.values()))) if self.args or self.kwargs else 1


class ArraySource:
    """Arrays in memory or in a mapped file, of which any rows can be had."""

    random_access = True
    own_order = False
    generators: tuple[torch.Generator, ...] = ()

    def __init__(self, arrays: dict[int | str, Any]):
        self.arrays = arrays
        self.rows = len(next(iter(arrays.values())))

    def take(self, rows: torch.Tensor | slice) -> Batch:
        """The given rows of every array."""
        return Batch.of({name: pick(array, rows) for name, array in self.arrays.items()})


class DatasetSource:
    """A map-style Dataset, of which any rows can be had, one by one where it knows no better."""

    random_access = True
    own_order = False
    generators: tuple[torch.Generator, ...] = ()

    def __init__(self, dataset: Any):
        self.arrays: dict[int | str, Leaf] = {}
        self.dataset = dataset
        self.rows = length(dataset)
        if self.rows is None:
            raise DataError(f"the {type(dataset).__name__} has no length; give it __len__, or use a DataLoader")
        if self.rows == 0:
            raise DataError(f"the {type(dataset).__name__} is empty; give at least one row")

    def take(self, rows: torch.Tensor | slice) -> Batch:
        """The given rows, collated as a DataLoader would."""
        wanted = list(range(*rows.indices(self.rows or 0))) if isinstance(rows, slice) else rows.tolist()
        return collate(items(self.dataset, wanted), default_collate, f"the {type(self.dataset).__name__}")


class NoSource:
    """The data of a pair without arguments, which holds them itself: each pass is one batch without tensors."""

    random_access = False
    own_order = True
    generators: tuple[torch.Generator, ...] = ()
    rows: int | None = 1

    def __init__(self) -> None:
        self.arrays: dict[int | str, Leaf] = {}

    def batches(self, batch_size: int | None) -> int | None:
        """One batch an epoch: a pair without arguments holds its data itself."""
        return 1

    def stream(self, batch_size: int | None, skip: int = 0) -> Iterator[Batch]:
        """The one batch, which holds nothing."""
        return iter([Batch((), {})][skip:])

    ordered = stream

    def head(self, count: int) -> Batch:
        """The one batch, which holds nothing."""
        return Batch((), {})


class StreamSource:
    """An IterableDataset: rows one after another, in its own order."""

    random_access = False
    own_order = True
    generators: tuple[torch.Generator, ...] = ()

    def __init__(self, dataset: Any):
        self.arrays: dict[int | str, Leaf] = {}
        self.dataset = dataset
        self.rows = length(dataset)

    def batches(self, batch_size: int | None) -> int | None:
        """How many batches one pass has, where that is known."""
        return None if self.rows is None or batch_size is None else -(-self.rows // batch_size)

    def stream(self, batch_size: int | None, skip: int = 0) -> Iterator[Batch]:
        """One pass; the rows of the first `skip` batches are drawn and dropped at once."""
        name, size = f"the {type(self.dataset).__name__}", batch_size or 1
        rows = iter(self.dataset)
        for _ in itertools.islice(rows, skip * size):
            pass
        chunks = iter(lambda: list(itertools.islice(rows, size)), [])
        return (collate(chunk, default_collate, name) for chunk in chunks)

    ordered = stream

    def head(self, count: int) -> Batch:
        """The first rows."""
        return next(self.stream(count), None) or nothing("the stream")


class LoaderSource:
    """A DataLoader: its batches in its own order."""

    random_access = False
    own_order = True

    def __init__(self, loader: DataLoader):
        self.arrays: dict[int | str, Leaf] = {}
        self.loader = loader
        self.rows = self._rows()
        self.generators = _generators(loader)
        if self.batches(None) == 0:
            raise DataError(
                f"the DataLoader has no batch: {self.rows} rows, batch size {loader.batch_size}"
                f"{', and drop_last leaves the rest out' if loader.drop_last else ''}; give it more rows"
            )

    def _rows(self) -> int | None:
        if self.loader.batch_size is None and self.loader.batch_sampler is None:
            return None  # each item of the dataset is a batch of its own
        if self._whole or isinstance(self.loader.dataset, IterableDataset):
            return length(self.loader.dataset)
        # With a sampler of the user's own, only what it yields belongs to the data.
        return length(self.loader.sampler)

    @property
    def _whole(self) -> bool:
        """Whether one pass is every row of the dataset, once, in order or shuffled."""
        sampler = self.loader.sampler
        if self.loader.batch_size is None or length(self.loader.dataset) is None:
            return False
        if isinstance(sampler, RandomSampler):
            return not sampler.replacement and sampler.num_samples == length(self.loader.dataset)
        return type(sampler) is SequentialSampler

    def batches(self, batch_size: int | None) -> int | None:
        """How many batches one pass has, where that is known."""
        return length(self.loader)

    def stream(self, batch_size: int | None, skip: int = 0) -> Iterator[Batch]:
        """One pass as the loader makes it; the first `skip` batches are loaded and dropped at once."""
        passing = iter(self.loader)
        for _ in itertools.islice(passing, skip):
            pass
        return (pack(item, "the DataLoader") for item in passing)

    def ordered(self, batch_size: int | None) -> Iterator[Batch]:
        """Every row once, in order where the loader's sampler allows it."""
        return (pack(item, "the DataLoader") for item in self._in_order(batch_size))

    def _in_order(self, batch_size: int | None) -> Iterable[Any]:
        loader = self.loader
        if not self._whole:
            return loader
        return DataLoader(
            loader.dataset,
            batch_size=batch_size or loader.batch_size,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator(),  # else the workers' seeds come from the global one
        )

    def head(self, count: int) -> Batch:
        """The first rows; without a shuffle or a worker where the dataset can be indexed."""
        if self._whole:
            wanted = list(range(min(count, self.rows or 0)))
            return collate(items(self.loader.dataset, wanted), self.loader.collate_fn, "the DataLoader")
        before = [generator.get_state() for generator in self.generators]
        try:
            batch = next(self.stream(None), None) or nothing("the DataLoader")
        finally:
            for generator, state in zip(self.generators, before, strict=True):
                generator.set_state(state)
        return Batch.of({name: leaf[:count] for name, leaf in batch.leaves.items()})


def length(thing: Any) -> int | None:
    """Its length; None where it has none, which torch's classes say by an error."""
    try:
        return len(thing)
    except (TypeError, NotImplementedError):
        return None


def nothing(where: str) -> Batch:
    """Refuse data that yield no batch."""
    raise DataError(f"{where} yields nothing; give at least one row, and an iterable that can start anew")


def items(dataset: Any, rows: list[int]) -> list[Any]:
    """The given items of a dataset, all at once where it knows how."""
    several = getattr(dataset, "__getitems__", None)
    return several(rows) if several else [dataset[row] for row in rows]


def collate(rows: list[Any], function: Any, where: str) -> Batch:
    """Rows made into a batch; what cannot be stacked is an error in words."""
    try:
        item = function(rows)
    except (TypeError, RuntimeError, ValueError) as error:
        raise DataError(f"the rows of {where} do not make a batch: {str(error).splitlines()[0]}") from error
    return pack(item, where)


def pack(item: Any, where: str) -> Batch:
    """What a loader yields: a tensor is one argument, a list or tuple several, a dict named ones."""
    if isinstance(item, Batch):
        return item
    named = dict(enumerate(item)) if isinstance(item, list | tuple) else item
    named = named if isinstance(named, Mapping) else {0: named}
    for name, leaf in named.items():
        if not isinstance(leaf, torch.Tensor | np.ndarray):
            raise DataError(
                f"{where} yields a {type(leaf).__name__} as {argument_words(name)}; "
                "it must yield tensors, or tuples or dicts of tensors"
            )
    try:
        leaves = leaves_of(dict(named) if isinstance(item, Mapping) else tuple(named.values()))
    except DataError as error:
        raise DataError(f"a batch from {where}: {error}") from None
    return Batch.of({name: _as_tensor(leaf) for name, leaf in leaves.items()})


def _as_tensor(leaf: Leaf) -> torch.Tensor:
    return leaf if isinstance(leaf, torch.Tensor) else pick(leaf, slice(None))


def _generators(loader: DataLoader) -> tuple[torch.Generator, ...]:
    """Every generator of the loader's own that decides its order."""
    samplers = (loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    found = {id(g): g for part in samplers if (g := getattr(part, "generator", None)) is not None}
    return tuple(found.values())
