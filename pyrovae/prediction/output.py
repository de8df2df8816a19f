"""How results are handed over: as draws or reduced, in memory or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from pyrovae import __version__
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.numbers import check_counts
from pyrovae.prediction.arrays import Arrays, Key, Slab, Target
from pyrovae.prediction.disk import Disk
from pyrovae.prediction.readings import SiteRequest, pieces
from pyrovae.prediction.reducers import MEMORY, Reducer
from pyrovae.prediction.reductions import Reduction
from pyrovae.prediction.store import new_store, read_groups
from pyrovae.sampling.sampler import Sampler


class Delivery(NamedTuple):
    """In what form results are wanted, and where."""

    reduce: Any = None
    out: Path | str | None = None
    device: str | torch.device | None = None
    memory: int = MEMORY


IN_MEMORY = Delivery()


@torch.no_grad()
def delivered(sampler: Sampler, draws: int, request: SiteRequest, delivery: Delivery) -> dict[str, Any]:
    """What a request finds, `{site: ...}`."""
    check_counts(memory=delivery.memory)
    reduction = None if delivery.reduce is None else Reduction.of(delivery.reduce)
    if delivery.out is not None:
        return _filed(sampler, draws, request, reduction, delivery)
    arrays = Arrays(sampler.rows, draws, delivery.device)
    _fill(arrays, sampler, draws, request, reduction, delivery.memory)
    return _named(arrays.result(), reduction)


def _fill(
    target: Target, sampler: Sampler, draws: int, request: SiteRequest, reduction: Reduction | None, memory: int
) -> None:
    if reduction is not None:
        Reducer(sampler, draws, request, reduction, memory).reduce_into(target)
        return
    for piece in pieces(sampler, sampler.tiles(draws, request.kind), request):
        target.put(Slab(Key(piece.name), piece.value, piece.axis, piece.rows, piece.plates, piece.draws))


def _filed(
    sampler: Sampler, draws: int, request: SiteRequest, reduction: Reduction | None, delivery: Delivery
) -> dict[str, Any]:
    import xarray

    assert delivery.out is not None
    if delivery.device is not None:
        raise ArgumentError(
            f"{argument('out')} and {argument('device')} are given: results in a file are on no device; "
            "leave one of them out."
        )
    levels = {"quantile": list(reduction.levels)} if reduction is not None and reduction.levels else {}
    attributes = {"created_by": f"pyrovae {__version__}", "seed": sampler.seed, "draws": draws, "kind": request.kind}
    with new_store(delivery.out, {"": xarray.Dataset(coords=levels, attrs=attributes)}) as store:
        disk = Disk(store, sampler.rows, draws)
        _fill(disk, sampler, draws, request, reduction, delivery.memory)
    written = read_groups(delivery.out)[""]
    return _named({key: written[name] for key, name in disk.names.items()}, reduction)


def _named(found: dict[Key, Any], reduction: Reduction | None) -> dict[str, Any]:
    return reduction.assembled(found) if reduction is not None else {key.name: value for key, value in found.items()}
