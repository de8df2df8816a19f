"""A pair's own modules with the mean of what is known of their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pyrovae.errors import ArgumentError
from pyrovae.trust.epistemic.uncertain_weights import UncertainWeights


@contextmanager
def at_mean(pair: Any) -> Iterator[None]:
    r"""Inside, the modules of a pair have the posterior mean of their weights, to be looked at: \( w = E_q[w] \).

    Args:
        pair: what `bayesian_weights`, `recipes.bayesian_decoder` or `recipes.bayesian_mixture` gave.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 2)))
        >>> pair = pv.epistemic.bayesian_weights(vae, torch.randn(200, 3))
        >>> with pv.epistemic.at_mean(pair):
        ...     vae.likelihood(torch.zeros(4, 1)).batch_shape
        torch.Size([4])
    """
    posterior = pair.distribution.posterior() if isinstance(pair, UncertainWeights) else None
    if posterior is None or not pair.distribution.shares_codes:
        raise ArgumentError(
            f"at_mean takes a pair with a normal posterior over weights, as bayesian_weights gives it, got "
            f"{type(pair).__name__}: other posteriors have no mean that is a set of weights."
        )
    with torch.no_grad():
        mean = posterior.mean
    with pair.weights.replaced(mean):
        yield
