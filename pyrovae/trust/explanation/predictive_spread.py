"""How uncertain a pair is of each row as a whole, with gradients."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

import torch
from torch import Tensor

from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import rows_second


def predictive_spread(sampler: Sampler, site: str, scale: Tensor, draws: int) -> Tensor:
    r"""The predictive variance of a site, each element in units of its scale, averaged over them, (rows,).

    \[ \tfrac1d \textstyle\sum_i \big(\operatorname E_z \operatorname{Var}[x_i \mid z]
    + \operatorname{Var}_z \operatorname E[x_i \mid z]\big) / s_i^2 \]

    Elements that have no variance (classes) do not count.
    """
    found = []
    with torch.set_grad_enabled(sampler.use.gradients):
        for _, tiles in groupby(sampler.tiles(draws), key=attrgetter("rows")):
            parts = list(tiles)
            mean, variance = (
                torch.cat([rows_second(sampler, tile.of(site, attrgetter(what)), site) for tile in parts])
                for what in ("mean", "variance")
            )
            spread = variance.mean(0) + mean.var(0, unbiased=False)
            found.append((spread.cpu() / scale.square()).flatten(1).nanmean(1))
    return torch.cat(found)
