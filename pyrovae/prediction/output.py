"""Where results go and in what form: as draws or reduced, in memory or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from pyrovae import __version__
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.numbers import check_counts
from pyrovae.prediction.arrays import ArrayPart, Arrays, Key, Target
from pyrovae.prediction.disk import Disk
from pyrovae.prediction.readings import SiteRequest, pieces
from pyrovae.prediction.reducers import MEMORY, Reducer
from pyrovae.prediction.reductions import Reduction
from pyrovae.prediction.store import new_store, read_groups
from pyrovae.sampling.sampler import Sampler


class Output(NamedTuple):
    """In what form results are wanted, and where they go."""

    reduce: Any = None
    out: Path | str | None = None
    device: str | torch.device | None = None
    memory: int = MEMORY


IN_MEMORY = Output()


@torch.no_grad()
def collect(sampler: Sampler, draws: int, request: SiteRequest, output: Output) -> dict[str, Any]:
    """What a request finds, `{site: ...}`."""
    check_counts(memory=output.memory)
    reduction = None if output.reduce is None else Reduction.of(output.reduce)
    if output.out is not None:
        return _to_file(sampler, draws, request, reduction, output)
    arrays = Arrays(sampler.rows, draws, output.device)
    _fill(arrays, sampler, draws, request, reduction, output.memory)
    return _named(arrays.result(), reduction)


def _fill(
    target: Target, sampler: Sampler, draws: int, request: SiteRequest, reduction: Reduction | None, memory: int
) -> None:
    if reduction is not None:
        Reducer(sampler, draws, request, reduction, memory).reduce_into(target)
        return
    for piece in pieces(sampler, sampler.tiles(draws, request.kind), request):
        target.put(ArrayPart(Key(piece.name), piece.value, piece.axis, piece.rows, piece.plates, piece.draws))


def _to_file(
    sampler: Sampler, draws: int, request: SiteRequest, reduction: Reduction | None, output: Output
) -> dict[str, Any]:
    import xarray

    assert output.out is not None
    if output.device is not None:
        raise ArgumentError(
            f"{argument('out')} and {argument('device')} are given: results in a file are on no device; "
            "leave one of them out."
        )
    levels = {"quantile": list(reduction.levels)} if reduction is not None and reduction.levels else {}
    attributes = {"created_by": f"pyrovae {__version__}", "seed": sampler.seed, "draws": draws, "kind": request.kind}
    with new_store(output.out, {"": xarray.Dataset(coords=levels, attrs=attributes)}) as store:
        disk = Disk(store, sampler.rows, draws)
        _fill(disk, sampler, draws, request, reduction, output.memory)
    written = read_groups(output.out)[""]
    return _named({key: written[name] for key, name in disk.names.items()}, reduction)


def _named(found: dict[Key, Any], reduction: Reduction | None) -> dict[str, Any]:
    return reduction.assembled(found) if reduction is not None else {key.name: value for key, value in found.items()}
