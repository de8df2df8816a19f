"""Observed sites as rows of numbers, of real and of drawn data alike: what a classifier looks at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError
from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.structure import Structure
from pyrovae.sampling.programs import Kind
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

Features = Callable[[torch.Tensor], Any]


def observed_of_rows(structure: Structure, site: str | None) -> list[str]:
    """The observed sites of each datum, or the one that was named."""
    known = structure.named("observed", local=True)
    if not known or (site is not None and site not in known):
        raise ArgumentError(
            f"site={site!r} is not an observed site of each datum; those are: {', '.join(known) or 'none'}."
        )
    return [site] if site is not None else known


def rows_of(
    sampler: Sampler, kind: Kind, sites: Sequence[str], features: Features | None, given: Collection[int | str] = ()
) -> np.ndarray:
    """Every row once, (rows, features), in double precision.

    Args:
        sampler: of the pair.
        kind: "posterior" for the data as they are, "generative" for drawn ones.
        sites: whose values stand side by side.
        features: from a tensor of rows to an array.
        given: arguments that stand beside them as they are.
    """
    with torch.no_grad():
        parts = [features_of(sampler, tile, sites, features, given)[0] for tile in sampler.tiles(1, kind)]
    return np.concatenate(parts)


def features_of(
    sampler: Sampler, tile: Tile, sites: Sequence[str], features: Features | None, given: Collection[int | str] = ()
) -> np.ndarray:
    """The same of one tile, (draws, rows, features)."""
    size = len(tile.draws), len(tile.rows)
    values = [(_rows_second(sampler, _unmasked(tile, name), name), features) for name in sites]
    values += [(tile.batch.leaves[key].expand(size[0], *tile.batch.leaves[key].shape), None) for key in given]
    parts = [_featured(value.flatten(0, 1), of).reshape(*size, -1) for value, of in values]
    return np.concatenate(parts, axis=2)


def _unmasked(tile: Tile, name: str) -> torch.Tensor:
    """A site's value with zeros where a mask hides it, in real and in generated data alike."""
    value, shown = tile.value(name), []
    for run in tile.runs:
        mask = mask_of(run.node(name))
        if mask is None:
            return value
        shown.append(run.of(name, lambda fn, mask=mask: mask))
    return value.masked_fill(~torch.cat(shown), 0)


def _rows_second(sampler: Sampler, value: torch.Tensor, name: str) -> torch.Tensor:
    axis = sampler.layout.place(("model", name)).axis
    return value.unsqueeze(1) if axis is None else value.movedim(axis, 1)


def _featured(value: torch.Tensor, features: Features | None) -> np.ndarray:
    value = value.detach().cpu()
    found = np.asarray(features(value) if features is not None else value)
    if len(found) != len(value):
        raise ArgumentError(f"features= returned {len(found)} rows for {len(value)}; it has to keep the rows.")
    return found.reshape(len(found), -1).astype(np.float64)
