"""By what a site that all data share is divided among them."""

from __future__ import annotations

from pyrovae.pairs.trace import samples
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile


def plate_size(tile: Tile, sampler: Sampler) -> int:
    """By what a global site's share is divided: the size written into the data plate, else the number of data."""
    plate = sampler.structure.data_plate
    for _, node in samples(tile.runs[0].traces.model):
        for frame in node["cond_indep_stack"]:
            if frame.name == plate and frame.size > 0 and not sampler.layout.follows:
                return int(frame.full_size or frame.size)
    return sampler.rows or sum(batch.rows for batch in sampler.use.batches.in_order())
