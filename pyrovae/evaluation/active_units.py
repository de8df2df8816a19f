"""How many dimensions of a latent site the data move."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.prediction.encode import encodings
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile


class ActiveUnits(NamedTuple):
    """How many dimensions of a latent site depend on the data, of how many, and each dimension's share.

    `shares` holds the variance over the data of the posterior mean, divided by the prior's variance.

    Examples:
        >>> import pyrovae as pv
        >>> ActiveUnits(count=1, total=2, shares=torch.tensor([0.5, 0.0])).count
        1
    """

    count: int
    total: int
    shares: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


@in_turn
def active_units(
    pair: HasPair, /, *data: Any, threshold: float = 0.01, data_plate: str | None = None, **named: Any
) -> dict[str, ActiveUnits]:
    """Count the latent dimensions that the data move.

    `A_d = Var_x(E_q[z_d | x]) / Var_p(z_d)`; a dimension is active where `A_d > threshold`.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        threshold: the share of the prior's variance from which a dimension counts.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        For each local latent site (that is not discrete), an `ActiveUnits`.

    References:
        Burda et al., "Importance weighted autoencoders" (2016), section 3.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.active_units(vae, torch.randn(64, 5))["z"].total
        2
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or math.isnan(threshold):
        raise ArgumentError(f"threshold={threshold!r}; give a number, such as 0.01.")
    return active_in(Sampler.of(pair, data, named, seed=0, data_plate=data_plate), threshold=threshold)


@torch.no_grad()
def active_in(sampler: Sampler, threshold: float = 0.01) -> dict[str, ActiveUnits]:
    """`active_units` with a sampler at hand."""
    first = next(sampler.tiles(1, "posterior"))
    found = {}
    for site, encoding in encodings(sampler, classes=False).items():
        prior = _prior_variance(first, sampler, site)
        if prior is not None and len(encoding.mean) > 1:
            shares = encoding.mean.reshape(len(encoding.mean), -1).var(0) / prior
            if bool(shares.isfinite().all()):
                found[site] = ActiveUnits(int((shares > threshold).sum()), len(shares), shares)
    return found


def _prior_variance(tile: Tile, sampler: Sampler, site: str) -> torch.Tensor | None:
    """A prior's variance in each dimension, averaged over rows, where it has one."""
    fn = tile.runs[0].node(site)["fn"]
    if _variance(fn) is None:
        return None
    variance, place = tile.of(site, _variance), sampler.layout.place(("model", site), batch=True)
    if place.axis is not None:
        variance = variance[0].movedim(place.axis - len(fn.event_shape), 0)
    return variance.reshape(len(variance), -1).mean(0).cpu()


def _variance(fn: Any) -> Any:
    """A continuous distribution's variance, where it has one."""
    try:
        variance = fn.variance
    except (NotImplementedError, AttributeError):
        return None
    if getattr(known_support(fn), "is_discrete", False) or not bool(torch.isfinite(variance).all()):
        return None
    return variance
