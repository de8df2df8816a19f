"""Which arguments observed sites hold, and other values in their place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.pairs.lawful_values import given_value
from pyrovae.pairs.same_numbers import same_numbers, same_where_known
from pyrovae.pairs.trace import rows_moved, samples
from pyrovae.sampling.programs import cut, traced
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile


def observed_arguments(sampler: Sampler) -> frozenset[int | str]:
    """Positions and names of the arguments whose rows observed sites hold: cast, in parts, or a column of them.

    Found by giving the model each argument with its rows moved by one. The others are covariates.
    """
    tile = next(sampler.tiles(1))
    guide, leaves = tile.runs[0].traces.guide, tile.batch.leaves
    with sampler.use.quietly(0):
        before = _observed(sampler, tile.batch, guide)
        axes = {name: sampler.layout.place(("model", name)).axis for name in before}
        return frozenset(
            key for key, leaf in leaves.items() if _stands_in(leaf, before) or _moves(sampler, tile, key, before, axes)
        )


def _moves(
    sampler: Sampler, tile: Tile, key: int | str, before: dict[str, torch.Tensor], axes: dict[str, int | None]
) -> bool:
    """Whether what is observed moves with an argument."""
    try:
        after = _observed(sampler, _rolled(tile, key), tile.runs[0].traces.guide)
    except Exception:  # a pair may refuse, in its own way, rows of arguments that do not go together
        return same_where_known(tile.batch.leaves[key], before.values())
    return rows_moved(before, after, axes)


def _observed(sampler: Sampler, batch: Batch, given: Trace) -> dict[str, torch.Tensor]:
    observed = sampler.structure.named("observed")
    run = traced(poutine.replay(sampler.model_on(batch), trace=given), batch)
    return {name: given_value(node) for name, node in samples(run) if name in observed}


def _rolled(tile: Tile, key: int | str) -> Batch:
    leaves = {name: leaf.roll(1, 0) if name == key else leaf for name, leaf in tile.batch.leaves.items()}
    return Batch.of(leaves)._replace(positions=tile.batch.positions)


def _stands_in(leaf: torch.Tensor, values: Mapping[str, torch.Tensor]) -> bool:
    """Whether a value is this argument as it was given: with one row, or rows all alike, none is seen to move."""
    return any(leaf.data_ptr() == value.data_ptr() and leaf.numel() == value.numel() for value in values.values())


# --- other values -------------------------------------------------------------------------------------
def with_values(sampler: Sampler, batch: Batch, values: Mapping[str, torch.Tensor]) -> Batch:
    """The batch with which the pair observes these values.

    Args:
        sampler: of the pair.
        batch: rows of the data.
        values: for some observed sites what they shall observe, in the shape of a single run on these rows.

    Raises:
        PairError: the pair computes what it observes from its arguments, so that no argument can be set.
    """
    written = Batch.of({key: leaf.clone(memory_format=torch.contiguous_format) for key, leaf in batch.leaves.items()})
    written = written._replace(positions=batch.positions)
    few = sampler.use.placement.place(cut(written, min(batch.rows, sampler.tile_rows or batch.rows)))
    run = sampler.single(few)
    for site, value in values.items():
        _write(written, few, given_value(run.node(site)), value)
    few = sampler.use.placement.place(cut(written, few.rows))
    after = sampler.single(few)
    for site, value in values.items():
        held, axis = given_value(after.node(site)), sampler.layout.place(("model", site)).axis
        wanted = value if axis is None else value.narrow(axis, 0, min(few.rows, value.shape[axis]))
        if not same_numbers(held, wanted, rtol=1e-5, atol=1e-8):
            raise PairError(
                f"no argument of the model is what site {site!r} observes: the pair computes what it observes at "
                f"{site!r} from its arguments, so other values cannot be given to it. Compute that beforehand, and "
                "give the pair the result as an argument."
            )
    return written


def _write(written: Batch, few: Batch, seen: torch.Tensor, value: torch.Tensor) -> None:
    """Write into the argument of which `seen` is a view, or else into the one that is equal to it.

    `seen` is of the first rows: the same view of all rows is where the values belong.
    """
    for key, leaf in few.leaves.items():
        if leaf.untyped_storage().data_ptr() == seen.untyped_storage().data_ptr() and 0 not in seen.stride():
            offset = int(seen.storage_offset()) - int(leaf.storage_offset())
            written.leaves[key].as_strided(value.shape, seen.stride(), offset).copy_(value)
            return
    for key, leaf in few.leaves.items():
        # A cast, a copy: the same numbers in the same order.
        if leaf.numel() == seen.numel() and torch.equal(_flat(leaf).to(seen.dtype), _flat(seen)):
            written.leaves[key].copy_(value.reshape(written.leaves[key].shape))
            return


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """In one row, holes as 0: a hole equals nothing, not even itself."""
    return tensor.reshape(-1).nan_to_num()
