"""A mixture with a class for each datum, which can be enumerated."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.discrete import Categorical
from pyrovae.models.nets import MLP
from pyrovae.models.truth.trainable_guides import TrainableGuide, uniform_numbers
from pyrovae.pairs.pair import Pair


class DiscreteMixture:
    r"""Binary vectors from a few classes, small enough to sum over.

    \[ z \sim \text{Categorical}(\pi), \quad x_j \mid z \sim \text{Bernoulli}(\theta_{z j}), \qquad
    p(x) = \sum_k \pi_k \prod_j \theta_{k j}^{x_j} (1 - \theta_{k j})^{1 - x_j} \]

    The exact posterior's logits are affine in x.

    Args:
        weights: π, shape (k,).
        probabilities: θ, shape (k, d), strictly between 0 and 1.

    Sites: `z` (local, discrete; mark it with `pyro.infer.config_enumerate` to sum it out) and `x`, in the plate `data`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.DiscreteMixture(torch.tensor([0.5, 0.5]), torch.tensor([[0.9], [0.1]]))
        >>> truth.posterior(torch.tensor([[1.0]])).probs
        tensor([[0.9000, 0.1000]])
    """

    def __init__(self, weights: Tensor, probabilities: Tensor):
        if weights.dim() != 1 or probabilities.dim() != 2 or len(weights) != len(probabilities):
            raise ArgumentError(
                f"DiscreteMixture takes weights (k,) and probabilities (k, d), got {tuple(weights.shape)} and "
                f"{tuple(probabilities.shape)}"
            )
        self.weights, self.probabilities = weights, probabilities

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Data (count, d) that leave the global random state alone."""
        k, d = self.probabilities.shape
        uniform = uniform_numbers(seed, (1 + d, count)).to(self.probabilities)
        z = torch.searchsorted(self.weights.cumsum(0), uniform[0]).clamp(max=k - 1)
        return (self.probabilities[z] > uniform[1:].T).to(self.probabilities)

    def _log_joint(self, x: Tensor) -> Tensor:
        log_prob = dist.Bernoulli(self.probabilities).to_event(1).log_prob(x.unsqueeze(-2))
        return self.weights.log() + log_prob

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), shape (rows,)."""
        return self._log_joint(x).logsumexp(-1)

    def posterior(self, x: Tensor) -> Any:
        """p(z | x), batch shape (rows,)."""
        return dist.Categorical(logits=self._log_joint(x))

    def model(self, x: Tensor) -> Tensor:
        """Sites `z` and `x`."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(self.weights))
            pyro.sample("x", dist.Bernoulli(self.probabilities[z]).to_event(1), obs=x)
        return z

    def guide(self, x: Tensor) -> Tensor:
        """Site `z`, from the exact posterior."""
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x))

    def trainable(self) -> Pair:
        """This model, and a guide to be trained: a categorical with an affine net, which holds the posterior."""
        k, d = self.probabilities.shape
        return Pair(self.model, TrainableGuide(Categorical(MLP(d, [], k)).to(self.probabilities), "z", local=True))
