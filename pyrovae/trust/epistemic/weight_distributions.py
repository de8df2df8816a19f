"""Distributions of weights: what is drawn at the global site, and which weights follow from a draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor, nn


class DrawnWeights(NamedTuple):
    """The weights of one draw, and the buffers that belong to them (none: as the pair has them)."""

    vector: Tensor
    buffers: Sequence[Tensor] = ()


class WeightDistribution(Protocol):
    """A module: called on a draw it gives the weights, `prior()` and `posterior()` are the site's distributions."""

    shares_codes: bool  # whether draws are so near each other that a latent code means the same under each

    def __call__(self, draw: Tensor) -> DrawnWeights: ...  # noqa: D102

    def prior(self) -> Any: ...  # noqa: D102

    def posterior(self) -> Any: ...  # noqa: D102


class NormalWeights(nn.Module):
    r"""Independent normal priors, and a normal posterior to be trained, diagonal or of low rank plus diagonal.

    \[ w \sim \mathcal N(0, s^2 I), \qquad q(w) = \mathcal N(\mu, U U^\top + \operatorname{diag}(\sigma^2)) \]

    Args:
        loc: μ to start from, (size,).
        rank: columns of U; 0 for none.
        prior_scale: s.
        scale: σ to start from.
    """

    shares_codes = True
    prior_scale: Tensor

    def __init__(self, loc: Tensor, *, rank: int = 0, prior_scale: float = 1.0, scale: float = 0.01):
        super().__init__()
        self.loc = nn.Parameter(loc.clone())
        self.log_scale = nn.Parameter(torch.full_like(loc, math.log(scale)))
        self.register_buffer("prior_scale", torch.as_tensor(prior_scale, dtype=loc.dtype, device=loc.device))
        if rank:
            # Not zero, where its gradient would vanish; together as large as the diagonal.
            factor = torch.randn(len(loc), rank, dtype=loc.dtype, device=loc.device)
            self.factor = nn.Parameter(factor * (scale / math.sqrt(rank)))
        else:
            self.factor = None

    def forward(self, draw: Tensor) -> DrawnWeights:
        """The draw itself."""
        return DrawnWeights(draw)

    def prior(self) -> Any:
        """Independent normals around 0, as wide as `prior_scale`."""
        return dist.Normal(torch.zeros_like(self.loc), self.prior_scale).to_event(1)

    def posterior(self) -> Any:
        """A normal, of low rank plus diagonal where there is a factor."""
        if self.factor is None:
            return dist.Normal(self.loc, self.log_scale.exp()).to_event(1)
        return dist.LowRankMultivariateNormal(self.loc, self.factor, (2 * self.log_scale).exp())


class EnsembleWeights(nn.Module):
    """Several whole sets of weights, each as probable as the others: the site is the member's number.

    Args:
        vectors: the weights, (members, size).
        buffers: those of the pair, each (members, ...).
    """

    shares_codes = False

    def __init__(self, vectors: Tensor, buffers: Sequence[Tensor] = ()):
        super().__init__()
        self.vectors = nn.Parameter(vectors.clone())
        self.count = len(buffers)
        for number, buffer in enumerate(buffers):
            self.register_buffer(f"buffer_{number}", buffer.clone())

    def forward(self, member: Tensor) -> DrawnWeights:
        """The weights and buffers of a member; buffers are its own, so that training changes them."""
        vector = self.vectors[member]
        if vector.dim() != 1:
            return DrawnWeights(vector)
        return DrawnWeights(vector, [getattr(self, f"buffer_{number}")[int(member)] for number in range(self.count)])

    def posterior(self) -> Any:
        """Uniform over the members."""
        return dist.Categorical(logits=torch.zeros_like(self.vectors[:, 0].detach()))

    prior = posterior


class SwagWeights(nn.Module):
    r"""A normal with the moments of weights along a training path (SWAG).

    \[ q(w) = \mathcal N\Big(\bar w, \tfrac12 \operatorname{diag}(\overline{w^2} - \bar w^2) +
    \tfrac{1}{2 (K - 1)} D D^\top\Big) \]

    It is prior and posterior alike: the path, not the ELBO, says how wide it is.

    Args:
        mean: (size,).
        variance: of each weight along the path, (size,).
        deviations: D, the last K sets of weights less their running mean, (size, K).

    References:
        Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning" (2019).
    """

    shares_codes = True
    variance: Tensor
    deviations: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, deviations: Tensor):
        super().__init__()
        self.mean = nn.Parameter(mean.clone())
        self.register_buffer("variance", variance.clone())
        self.register_buffer("deviations", deviations.clone())

    def forward(self, draw: Tensor) -> DrawnWeights:
        """The draw itself."""
        return DrawnWeights(draw)

    def posterior(self) -> Any:
        """The normal; weights that did not move get a spread that is nothing beside single precision's own."""
        least = 1e-12
        columns = self.deviations.shape[1]
        if columns < 2:
            return dist.Normal(self.mean, self.variance.clamp(min=least).sqrt()).to_event(1)
        factor = self.deviations / math.sqrt(2 * (columns - 1))
        return dist.LowRankMultivariateNormal(self.mean, factor, (self.variance / 2).clamp(min=least))

    prior = posterior
