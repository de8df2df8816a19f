"""A mixture of diagonal normals whose draws have gradients."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import Conditional, bounded, check_network, network_output
from pyrovae.pairs.numbers import check_count


class MixtureNormal(Conditional):
    r"""A mixture of diagonal normals of equal weight, for posteriors of several modes.

    \[ \frac1K \sum_{k=1}^K \mathcal N\big(\mu_k, \operatorname{diag}(\sigma_k^2)\big), \qquad \sigma_k = e^{b(s_k)} \]

    Take it where a datum may have come about in more than one way. Its draws have gradients (see `DiagNormalMixture`),
    so any ELBO trains it at the cost of one normal. Weights are equal for that reason: the gradient of a draw by the
    weights of modes that lie apart has no finite variance. A mode of more weight takes more components.

    Args:
        network: Gives a vector of 2 K d for an event (d,): the μ of all components, then the s.
        components: K.

    References:
        Figurnov et al., Implicit reparameterization gradients, 2018; Jankowiak and Karaletsos, Pathwise derivatives for
        multivariate distributions, 2019.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.MixtureNormal(pv.MLP(5, [8], 2 * 3 * 4), components=3)(torch.zeros(6, 5)).event_shape
        torch.Size([4])
    """

    def __init__(self, network: Any, components: int):
        super().__init__()
        self.components = check_count("components", components, least=2, where="pv.MixtureNormal: ")
        self.network = check_network(network, "MixtureNormal", self._size)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (d,)."""
        output, dims = network_output(self.network, given, "MixtureNormal")
        d = self._size(output.shape[output.dim() - dims :], "MixtureNormal")
        loc, raw = output.reshape((*output.shape[:-1], 2, self.components, d)).unbind(-3)
        weights = dist.Categorical(logits=torch.zeros_like(loc[..., 0]))
        return DiagNormalMixture(weights, dist.Normal(loc, bounded(raw).exp()).to_event(1))

    def _size(self, event: tuple[int, ...], owner: str) -> int:
        """d, from 2 K d numbers."""
        d, rest = divmod(event[0], 2 * self.components) if len(event) == 1 else (0, 0)
        if d < 1 or rest:
            raise ArgumentError(
                f"pv.{owner} takes a vector of 2 * components * d numbers for an event of d, such as "
                f"{self.components * 4} for 2 dims and {self.components} components; its network's output has event "
                f"shape {tuple(event)}"
            )
        return d


class DiagNormalMixture(dist.MixtureSameFamily):
    r"""A mixture of diagonal normals of fixed weights whose draws move with its components.

    \[ \frac{\partial z}{\partial \mu_k} = r_k(z)\, I, \qquad \frac{\partial z_i}{\partial \sigma_{ki}} = r_k(z)\,
    \frac{z_i - \mu_{ki}}{\sigma_{ki}}, \qquad r_k(z) = p(k \mid z) \]

    These carry the density along as the parameters move (the continuity equation holds), and are bounded.
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw."""
        value = self.sample(torch.Size(sample_shape)).unsqueeze(-2)
        parts, base = self.component_distribution, self.component_distribution.base_dist
        with torch.no_grad():
            standard = (value - base.loc) / base.scale
            share = (self.mixture_distribution.logits + parts.log_prob(value)).softmax(-1).unsqueeze(-1)
        moved = base.loc + base.scale * standard
        return value.squeeze(-2) + (share * (moved - moved.detach())).sum(-2)
