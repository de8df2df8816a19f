"""Counts with a gamma prior: global latents alone, exact evidence and posterior."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.models.truth.trainable_guides import LearnedPositive, TrainableGuide
from pyrovae.pairs.pair import Pair


class GammaPoisson:
    r"""Counts of unknown rate: one global latent, conjugate.

    \[ \lambda \sim \text{Gamma}(a, b), \quad x_n \mid \lambda \sim \text{Poisson}(\lambda), \qquad p(x_{1..N}) =
    \frac{b^a}{\Gamma(a)} \frac{\Gamma(a + s)}{(b + N)^{a + s}} \prod_n \frac{1}{x_n!}, \quad s = \sum_n x_n \]

    Args:
        concentration: a.
        rate: b.
        size: Rows in the whole data where `model` and `guide` get a part of them: the plate then scales.

    Sites: `rate` (global) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> truth.posterior(torch.tensor([3.0, 5.0])).mean  # (2 + 8) / (1 + 2)
        tensor(3.3333)
    """

    def __init__(self, concentration: float = 1.0, rate: float = 1.0, *, size: int | None = None):
        self.concentration, self.rate, self.size = concentration, rate, size

    def sample(self, count: int, *, seed: int = 0, rate: float = 3.0) -> Tensor:
        """Data (count,) of the given rate."""
        generator = torch.Generator().manual_seed(seed)
        return torch.poisson(torch.full((count,), rate), generator=generator)

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of the whole set, a scalar."""
        a, b = torch.as_tensor(self.concentration, dtype=x.dtype), torch.as_tensor(self.rate, dtype=x.dtype)
        after = self.posterior(x)
        before = a * b.log() - a.lgamma()
        return before - (after.concentration * after.rate.log() - after.concentration.lgamma()) - (x + 1).lgamma().sum()

    def posterior(self, x: Tensor) -> Any:
        """p(rate | x), a gamma."""
        return dist.Gamma(self.concentration + x.sum(0), x.new_tensor(self.rate + len(x)))

    def log_predictive(self, x: Tensor, given: Tensor) -> Tensor:
        """log p(x_n | given) for each x_n on its own, shape (rows,): a negative binomial."""
        after = self.posterior(given)
        return dist.NegativeBinomial(after.concentration, logits=-after.rate.log()).log_prob(x)

    def model(self, x: Tensor) -> Tensor:
        """Sites `rate` and `x`."""
        rate = pyro.sample("rate", dist.Gamma(x.new_tensor(self.concentration), x.new_tensor(self.rate)))
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)
        return rate

    def guide(self, x: Tensor) -> Tensor:
        """Site `rate`, from the exact posterior (of these rows, so for `size=None`)."""
        return pyro.sample("rate", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a gamma with two parameters."""
        return Pair(self.model, TrainableGuide(LearnedPositive(dist.Gamma), "rate", local=False))
