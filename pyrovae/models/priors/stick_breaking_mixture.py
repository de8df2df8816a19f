"""A mixture prior that finds how many of its components the data need."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.models.conditionals.conditional import Conditional, bounded
from pyrovae.models.nets import Event, event_shape
from pyrovae.models.priors.normal_mixture import mixture_of
from pyrovae.pairs.numbers import check_count, check_positive


class StickBreakingMixture(Conditional):
    r"""A mixture of diagonal normals whose weights are pieces of a stick, broken again and again.

    \[ \pi_k = v_k \prod_{j < k} (1 - v_j), \quad v_k = F^{-1}(\Phi(a_k)), \qquad
    \mu_k = s\, b_k, \quad \sigma_k = e^{b(c_k) / 2} \]

    with F the distribution function of Beta(1, γ). Where the raw numbers a, b and c are standard normal, the sticks are
    those of a Dirichlet process of concentration γ, and that is what `pv.recipes.bayesian_mixture` gives them:
    components that the data do not need are then left without weight. By itself, in a `pv.VAE`, it is trained by
    maximum likelihood as `pv.Mixture` is, and uses all that it has.

    Args:
        components: The most that there can be; some more than are expected.
        shape: Event shape, an integer or a tuple.
        concentration: γ: larger, and more components are expected.
        spread: s, how far apart components may lie.

    References:
        Blei and Jordan, Variational inference for Dirichlet process mixtures, 2006.

    Examples:
        >>> import torch, pyrovae as pv
        >>> prior = pv.StickBreakingMixture(10, 8)
        >>> prior().event_shape, round(float(prior.weights().sum()), 4)
        (torch.Size([8]), 1.0)
    """

    def __init__(self, components: int, shape: Event, *, concentration: float = 1.0, spread: float = 3.0):
        super().__init__()
        size = (check_count("components", components, least=2), *event_shape(shape, "shape"))
        self.concentration = check_positive("concentration", concentration)
        self.spread = check_positive("spread", spread)
        # Sticks start where all weights are equal, that is v_k = 1 / (K - k); a is what gives that.
        kept = torch.log1p(-1 / torch.arange(size[0], 1, -1.0))  # log(1 - v)
        self.sticks = nn.Parameter(-torch.special.ndtri((kept * self.concentration).exp()))
        self.loc = nn.Parameter(torch.randn(size) / self.spread)
        self.log_scale = nn.Parameter(torch.zeros(size))

    def log_weights(self) -> Tensor:
        """log π, (components,)."""
        kept = torch.special.log_ndtr(-bounded(self.sticks)) / self.concentration  # log(1 - v)
        broken = torch.log(-torch.expm1(kept.clamp(max=-1e-30)))
        zero = kept.new_zeros(1)
        return torch.cat([broken, zero]) + torch.cat([zero, kept]).cumsum(0)

    def weights(self) -> Tensor:
        """π, (components,)."""
        return self.log_weights().detach().exp()

    def used(self, share: float = 0.01) -> int:
        """How many components have at least this share of the weight."""
        return int((self.weights() >= share).sum())

    def forward(self) -> Any:
        """Batch shape `()`, event shape as given."""
        loc, scale = self.spread * self.loc, (bounded(self.log_scale) / 2).exp()
        components = dist.Normal(loc, scale).to_event(loc.dim() - 1)
        return mixture_of(dist.Categorical(logits=self.log_weights()), components)
