"""What pairs of a prior, a likelihood and a posterior share where these take more than x and z."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.models.vaes.vae import VAE, as_part
from pyrovae.pairs.registration import Registration


class ThreeParts(nn.Module):
    """Three conditionals in their positions, registered in Pyro's store under a name of their own."""

    def __init__(self, prior: Callable[..., Any], likelihood: Callable[..., Any], posterior: Callable[..., Any]):
        super().__init__()
        # The posterior first: a tensor that VampPrior shares with it is then named after the posterior.
        self.posterior = as_part(posterior, "posterior")
        self.prior = as_part(prior, "prior")
        self.likelihood = as_part(likelihood, "likelihood")
        self._registration = Registration("vae")

    def __getstate__(self) -> Any:
        # Pyro hangs a weak reference on each parameter, which nothing can pickle, and renews it at each use.
        for parameter in self.parameters():
            vars(parameter).pop("unconstrained", None)
        return object.__getstate__(self)

    def zeros(self, n: int, shape: torch.Size) -> Tensor:
        """Zeros of (n, *shape), of the type and on the device of the parameters."""
        return VAE.zeros(self, n, shape)  # type: ignore[arg-type]  # it asks for parameters alone, which any module has
