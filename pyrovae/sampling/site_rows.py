"""What tiles hold of a site, in one form: draws first, then the rows of the data, then the rest."""

from __future__ import annotations

import torch

from pyrovae.pairs.masks import mask_of
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler


def rows_second(sampler: Sampler, tensor: torch.Tensor, site: str, *, extra: int = 0) -> torch.Tensor:
    """(draws, *plates, *event, *extra) -> (draws, rows, ...); one row where the site belongs to no datum.

    Args:
        sampler: where the tensor comes from.
        tensor: of values of a site of the model.
        site: its name.
        extra: how many dims stand behind those of the value.
    """
    axis = sampler.layout.place(("model", site)).axis
    return tensor.unsqueeze(1) if axis is None else tensor.movedim(axis - extra, 1)


def seen_in(run: Run, site: str) -> torch.Tensor:
    """Which elements of a site count: False where a mask says no, (draws, *plates, *event)."""
    node = run.node(site)
    mask = mask_of(node)
    here = torch.ones((), dtype=torch.bool, device=node["value"].device) if mask is None else mask
    return run.of(site, lambda fn: here.expand(fn.batch_shape + fn.event_shape))


def observed_in(run: Run, site: str) -> torch.Tensor:
    """The observed values of a site, expanded to the shape of what its distribution draws."""
    fn = run.node(site)["fn"]
    return run.value(site)[0].expand(fn.batch_shape + fn.event_shape)
