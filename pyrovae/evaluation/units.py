"""How many dimensions of a latent site the data move."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pyrovae.batches import as_batches
from pyrovae.pairs import HasPair, samples
from pyrovae.prediction import Use, arguments


class ActiveUnits(NamedTuple):
    """How many dimensions of a latent site depend on the data, of how many, and each dimension's share.

    `shares` holds the variance over the data of the posterior mean, divided by the prior's variance.

    Examples:
        >>> import pyrovae as pv
        >>> pv.evaluation.ActiveUnits(count=1, total=2, shares=torch.tensor([0.5, 0.0])).count
        1
    """

    count: int
    total: int
    shares: torch.Tensor


def active_units(pair: HasPair, /, *data: Any, threshold: float = 0.01, **named: Any) -> dict[str, ActiveUnits]:
    """Count the latent dimensions that the data move.

    `A_d = Var_x(E_q[z_d | x]) / Var_p(z_d)`; a dimension is active where `A_d > threshold`.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        threshold: the share of the prior's variance from which a dimension counts.
        **named: keyword arguments of model and guide.

    Returns:
        For each local latent site whose guide has a mean (and that is not discrete), an `ActiveUnits`.

    References:
        Burda et al., "Importance weighted autoencoders" (2016), section 3.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.active_units(vae, torch.randn(64, 5))["z"].total
        2
    """
    return active_in(Use.of(pair, as_batches(arguments(data, named))), threshold=threshold)


def active_in(use: Use, rows: int | None = None, threshold: float = 0.01) -> dict[str, ActiveUnits]:
    """`active_units` on the first rows of data that are at hand, in batches of their own size."""
    with use.eval_mode():
        first = next(use.passes())
        priors = {
            name: use.rows_first(v, n) for name, n in samples(first.model) if (v := _variance(n["fn"])) is not None
        }
    found = {}
    for site, encoding in use.encodings(rows).items():
        prior = priors.get(site)
        if prior is not None and len(encoding.mean) > 1:
            flat = encoding.mean.flatten(1) if encoding.mean.ndim > 1 else encoding.mean[:, None]
            shares = flat.var(0) / prior.cpu().reshape(len(prior), -1).mean(0)
            if bool(shares.isfinite().all()):
                found[site] = ActiveUnits(int((shares > threshold).sum()), len(shares), shares)
    return found


def _variance(fn: Any) -> torch.Tensor | None:
    """A continuous prior's variance over its whole batch, where it has one."""
    try:
        variance = fn.variance
    except (NotImplementedError, AttributeError):
        return None
    if getattr(fn.support, "is_discrete", False) or not bool(torch.isfinite(variance).all()):
        return None
    return variance.expand(fn.batch_shape + fn.event_shape)
