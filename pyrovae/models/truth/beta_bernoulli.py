"""Coin tosses with a beta prior: global latents alone, exact evidence and posterior."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.models.truth.trainable_guides import LearnedPositive, TrainableGuide, uniform_numbers
from pyrovae.pairs.pair import Pair


class BetaBernoulli:
    r"""A coin of unknown bias: one global latent, conjugate.

    \[ p \sim \text{Beta}(a, b), \quad x_n \mid p \sim \text{Bernoulli}(p), \qquad
    \log p(x_{1..N}) = \log \frac{B(a + s,\, b + N - s)}{B(a, b)}, \quad s = \sum_n x_n \]

    Args:
        concentration1: a.
        concentration0: b.
        size: Rows in the whole data where `model` and `guide` get a part of them: the plate then scales.

    Sites: `p` (global) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.BetaBernoulli(1.0, 1.0)
        >>> truth.log_evidence(torch.tensor([1.0, 1.0])).exp()  # 1 / 3
        tensor(0.3333)
    """

    def __init__(self, concentration1: float = 1.0, concentration0: float = 1.0, *, size: int | None = None):
        self.concentration1, self.concentration0, self.size = concentration1, concentration0, size

    def sample(self, count: int, *, seed: int = 0, bias: float = 0.3) -> Tensor:
        """Data (count,) of the given bias."""
        return (uniform_numbers(seed, (count,)) < bias).to(torch.get_default_dtype())

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x) of the whole set, a scalar."""
        after = self.posterior(x)
        a, b = torch.as_tensor(self.concentration1, dtype=x.dtype), torch.as_tensor(self.concentration0, dtype=x.dtype)
        return _log_beta(after.concentration1, after.concentration0) - _log_beta(a, b)

    def posterior(self, x: Tensor) -> Any:
        """p(p | x), a beta."""
        ones = x.sum(0)
        return dist.Beta(self.concentration1 + ones, self.concentration0 + len(x) - ones)

    def log_predictive(self, x: Tensor, given: Tensor) -> Tensor:
        """log p(x_n | given) for each x_n on its own, shape (rows,)."""
        return dist.Bernoulli(self.posterior(given).mean).log_prob(x)

    def model(self, x: Tensor) -> Tensor:
        """Sites `p` and `x`."""
        p = pyro.sample("p", dist.Beta(x.new_tensor(self.concentration1), x.new_tensor(self.concentration0)))
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            pyro.sample("x", dist.Bernoulli(p), obs=x)
        return p

    def guide(self, x: Tensor) -> Tensor:
        """Site `p`, from the exact posterior (of these rows, so for `size=None`)."""
        return pyro.sample("p", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a beta with two parameters."""
        return Pair(self.model, TrainableGuide(LearnedPositive(dist.Beta), "p", local=False))


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()
