"""Rows of which nothing is observed: their posterior is the prior, and their evidence is 1."""

from __future__ import annotations

import torch

from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.trace import samples
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import rows_second, seen_in
from pyrovae.sampling.tiles import Tile


def unseen_rows(sampler: Sampler, tile: Tile, before: torch.Tensor | None = None) -> torch.Tensor:
    """Which rows have nothing that counts: masks hide every element of all that the model observes of them.

    A factor, or a mask that is itself observed, counts. Of models that sum something out no row is said to be unseen.

    Args:
        sampler: where the tile comes from.
        tile: of runs of the model against the data.
        before: which rows of it were unseen under other draws: others are not looked at.

    Returns:
        Booleans, (rows,).
    """
    unseen = torch.ones(len(tile.rows), dtype=torch.bool) if before is None else before
    for run in tile.runs:
        if not bool(unseen.any()):  # of nearly all data after the first run
            return unseen
        unseen = unseen & ~_seen(sampler, run)
    return unseen


def _seen(sampler: Sampler, run: Run) -> torch.Tensor:
    """Which rows have something that counts, or () where all have."""
    nodes = dict(samples(run.traces.model))
    observed = [name for name, node in nodes.items() if node["is_observed"] and _is_local(sampler, name)]
    sums = any("_enumerate_dim" in node["infer"] for node in nodes.values())
    if sums or not observed or any(mask_of(nodes[name]) is None for name in observed):
        return torch.ones((), dtype=torch.bool)
    by_row = (rows_second(sampler, seen_in(run, name), name).movedim(1, 0) for name in observed)
    return torch.stack([found.reshape(len(found), -1).any(1).cpu() for found in by_row]).any(0)


def _is_local(sampler: Sampler, name: str) -> bool:
    return sampler.layout.place(("model", name)).axis is not None
