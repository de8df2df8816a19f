"""Trainings apart from each other, and parts of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import torch

from pyrovae.data.batches import as_batches
from pyrovae.data.rows_of_frames import frames_among, is_frame, rows_of_frame, with_each_frame
from pyrovae.errors import ArgumentError, DataError
from pyrovae.pairs.looks.isolation import forked_random, forked_store
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.training.fit_options import StudyKeywords
from pyrovae.training.fit_result import Fit
from pyrovae.training.fit_whole import fit_whole

Make = Callable[..., HasPair]


@contextmanager
def trained(
    make: Callable[[], HasPair],
    data: Any,
    *,
    seed: int,
    checkpoint: Path | None = None,
    **options: Unpack[StudyKeywords],
) -> Iterator[Fit]:
    """A pair made and trained from a seed; what it puts into Pyro's store is gone again afterwards.

    Two pairs written by one author share the names of their parameters: in one store, the second would start
    where the first ended.
    """
    with forked_random(seed), forked_store(empty=True):
        yield fit_whole(made(make), data, progress=False, seed=seed, checkpoint=checkpoint, **options)


def made(make: Callable[..., Any], *setting: Any) -> HasPair:
    """A pair by the user's function, or an error in words."""
    if not callable(make):
        raise ArgumentError(
            f"make is a {type(make).__name__}; give a function that returns a new pair, so that each training starts "
            "from its own weights."
        )
    pair = make(*setting)
    if not hasattr(pair, "model") or not hasattr(pair, "guide"):
        raise ArgumentError(f"make returned a {type(pair).__name__}; it has to return a pair, with .model and .guide.")
    return pair


def check_options(options: Mapping[str, Any], *taken: str) -> None:
    """Refuse arguments of `fit` that a study gives itself."""
    mine = sorted({"progress", "tracker", "resume", "checkpoint", *taken} & set(options))
    if mine:
        raise ArgumentError(f"{mine[0]}= is set by the study itself; leave it out.")


def rows_of(data: Any) -> int:
    """How many rows arrays and frames have."""
    batches = as_batches(_numbered(data))
    if not batches.leaves():
        raise DataError("folds are made of arrays; give tensors, arrays or frames, not a Dataset or a DataLoader.")
    assert batches.rows is not None
    return batches.rows


def picked(data: Any, rows: torch.Tensor) -> Any:
    """Some rows of data, in the form in which they were given."""
    leaves: dict[int | str, Any] = dict(as_batches(_numbered(data)).source.take(rows).leaves)
    leaves |= {key: rows_of_frame(frame, rows) for key, frame in frames_among(data).items()}
    if isinstance(data, dict):
        return {name: leaves[name] for name in data}
    several = isinstance(data, tuple | list) and not is_frame(data)
    return tuple(leaves[place] for place in range(len(leaves))) if several else leaves[0]


def _numbered(data: Any) -> Any:
    return with_each_frame(data, lambda frame: torch.arange(len(frame)))


def folds_of(rows: int, folds: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each fold the rows to train on, and those that are held out."""
    folds = check_count("folds", folds, least=2)
    if folds > rows:
        raise ArgumentError(f"folds={folds!r}; give a whole number from 2 to the {rows} rows of the data.")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    parts = order.tensor_split(folds)
    return [(torch.cat([p for j, p in enumerate(parts) if j != i]), parts[i]) for i in range(folds)]
