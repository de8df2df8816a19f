"""What is observed of the data: which arguments observed sites hold, and which of their entries count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.trace import samples
from pyrovae.sampling.programs import traced
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
        return frozenset(
            key
            for key, leaf in leaves.items()
            if _stands_in(leaf, before) or _moves_with(sampler, before, _observed(sampler, _rolled(tile, key), guide))
        )


def _observed(sampler: Sampler, batch: Batch, given: Trace) -> dict[str, torch.Tensor]:
    observed = sampler.structure.named("observed")
    run = traced(poutine.replay(sampler.model_on(batch), trace=given), batch)
    return {name: node["value"] for name, node in samples(run) if name in observed}


def _rolled(tile: Tile, key: int | str) -> Batch:
    leaves = {name: leaf.roll(1, 0) if name == key else leaf for name, leaf in tile.batch.leaves.items()}
    return Batch.of(leaves)._replace(positions=tile.batch.positions)


def _stands_in(leaf: torch.Tensor, values: Mapping[str, torch.Tensor]) -> bool:
    """Whether a value is this argument as it was given: with one row, or rows all alike, none is seen to move."""
    return any(leaf.data_ptr() == value.data_ptr() and leaf.numel() == value.numel() for value in values.values())


def _moves_with(sampler: Sampler, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> bool:
    for name, value in before.items():
        axis = sampler.layout.place(("model", name)).axis
        axis = axis if axis is not None else -value.ndim  # outside of a plate, rows are the first axis
        if value.ndim and not torch.equal(value, after[name]) and torch.equal(value.roll(1, axis), after[name]):
            return True
    return False


def mask_of(node: Mapping[str, Any]) -> torch.Tensor | None:
    """Which entries of a site's value count, in the value's shape; None where nothing masks them."""
    fn = node["fn"]
    masks = [*_masks(fn), _behind(node["mask"], len(fn.event_shape))]
    tensors = [mask for mask in masks if isinstance(mask, torch.Tensor)]
    if not tensors:
        return None
    joined = tensors[0]
    for mask in tensors[1:]:
        joined = joined & mask
    return joined.expand(fn.batch_shape + fn.event_shape)


def hides_a_part(node: Mapping[str, Any]) -> bool:
    """Whether a mask takes any entry of a site out of account."""
    mask = mask_of(node)
    return mask is not None and not bool(mask.all())


def _masks(fn: Any) -> list[Any]:
    """Masks inside a distribution, each with as many dims to the right as the value has from there on."""
    inner = getattr(fn, "base_dist", None)
    own = [_behind(fn._mask, len(fn.event_shape))] if type(fn).__name__ == "MaskedDistribution" else []
    wrapper = type(fn).__name__ in ("Independent", "ExpandedDistribution", "MaskedDistribution")
    return own + (_masks(inner) if wrapper and inner is not None else [])


def _behind(mask: Any, events: int) -> Any:
    return mask.reshape(*mask.shape, *[1] * events) if isinstance(mask, torch.Tensor) else None
