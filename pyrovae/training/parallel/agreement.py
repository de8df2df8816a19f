"""What the processes of a training must have in common, looked at before the first step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data.distributed import DistributedSampler

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.objectives.free_bits import FreeBits
from pyrovae.pairs.pair import HasPair, Wrapped
from pyrovae.pairs.structure import Structure
from pyrovae.training.parallel.shares import Shares, share_of
from pyrovae.training.parallel.team import SingleProcess


def shared(
    pair: HasPair,
    batches: Batches,
    first: Batch,
    structure: Structure,
    team: SingleProcess,
    place: Callable[[Batch], Batch],
) -> Shares:
    """How a batch is shared, once it is known that all processes train the same pair on the same data.

    Raises:
        ArgumentError: what cannot be shared, or another pair in another process.
        DataError: other data in another process.
    """
    _check_loader(getattr(batches.source, "loader", None))
    _check_pair(pair)
    _check_last_batch(batches, team)
    shapes = {name: tuple(parameter.shape) for name, parameter in structure.parameters.items()}
    compared = (("parameters", shapes, ArgumentError), ("first rows of data", _digest(first), DataError))
    for what, mine, kind in compared:
        theirs = team.all_gather(mine)
        if any(other != mine for other in theirs):
            raise kind(f"the processes have different {what}; give all the same pair, data and seed.")
    shares = Shares(pair, structure, team)
    shares.find(first, place(share_of(first, team)), place)
    return shares


def _check_loader(loader: DataLoader | None) -> None:
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        raise ArgumentError(
            "the DataLoader has a DistributedSampler; leave it out: every process reads the same batches, and takes "
            "its own rows of each."
        )
    if isinstance(sampler, RandomSampler) and sampler.generator is None:
        raise ArgumentError(
            "the DataLoader shuffles in an order of its own in each process; give it "
            "generator=torch.Generator().manual_seed(0)."
        )


def _check_pair(pair: Any) -> None:
    while isinstance(pair, Wrapped):
        if isinstance(pair, FreeBits):
            raise ArgumentError(
                "free_bits bounds the mean over a whole batch, of which each process sees a part; train in one process."
            )
        pair = pair.pair


def _check_last_batch(batches: Batches, team: SingleProcess) -> None:
    rows, size = batches.rows, batches.batch_size
    last = rows % size if rows and size and batches.random_access else 0
    if 0 < last < team.size or (size or team.size) < team.size:
        raise ArgumentError(
            f"{argument('batch_size', size)} leaves {last or size} rows for {team.size} processes to share; "
            "choose another one."
        )


def _digest(batch: Batch) -> list[str]:
    arrays = [
        np.ascontiguousarray(leaf.detach().cpu().float().numpy()) for leaf in batch.leaves.values() if _is_plain(leaf)
    ]
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]


def _is_plain(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)
