"""What tiles hold of a site, in one form: draws first, then the rows of the data, then the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

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
    return run.of(site, lambda fn: _seen(fn, run.node(site)))


def _seen(fn: Any, node: Mapping[str, Any]) -> torch.Tensor:
    seen = torch.ones(fn.batch_shape + fn.event_shape, dtype=torch.bool, device=node["value"].device)
    for mask, behind in ((node["mask"], len(fn.event_shape)), *_inner_masks(fn)):
        if mask is not None:
            mask = torch.as_tensor(mask, device=seen.device)
            seen = seen & mask.reshape(*mask.shape, *[1] * behind)
    return seen


def _inner_masks(fn: Any) -> Iterator[tuple[Any, int]]:
    """The masks that `.mask` put around a distribution, and how many event dims each of them had."""
    while hasattr(fn, "base_dist"):
        if type(fn).__name__ == "MaskedDistribution":
            yield fn._mask, len(fn.event_shape)
        fn = fn.base_dist


def observed_in(run: Run, site: str) -> torch.Tensor:
    """The observed values of a site, expanded to the shape of what its distribution draws."""
    fn = run.node(site)["fn"]
    return run.value(site)[0].expand(fn.batch_shape + fn.event_shape)
