"""Class numbers softened to points of a simplex, through which gradients pass."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.utils import clamp_probs

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import Conditional, bounded, check_network, network_output
from pyrovae.pairs.numbers import as_number


class RelaxedCategorical(Conditional):
    r"""One or several Gumbel-softmax ("concrete") variables, points of the simplex near its corners.

    \[ s = \operatorname{softmax}\big((b(\lambda) + g) / \tau\big), \quad g_k \sim \text{Gumbel}(0, 1) \]

    Args:
        network: Gives the logits λ, (K,) or (sites, K) for several variables; bounded to ±10.
        temperature: τ, 0.5 to 10: at lower ones draws leave what float32 can hold, and densities become infinite.

    The density is that on the simplex, with K - 1 free dims; it is a density of s, not the probability of a class.
    `argmax s` has exactly the probabilities softmax(λ), whatever τ.

    References:
        Maddison et al., The concrete distribution, 2017; Jang et al., Categorical reparameterization, 2017.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.RelaxedCategorical(pv.MLP(5, [8], (4, 3)), 0.7)(torch.zeros(2, 5)).event_shape
        torch.Size([4, 3])
    """

    def __init__(self, network: Any, temperature: float = 2 / 3):
        super().__init__()
        self.network = check_network(network, "RelaxedCategorical", 1)
        value = as_number(temperature)
        if value is None or not 0.5 <= value <= 10:
            raise ArgumentError(f"pv.RelaxedCategorical: temperature={temperature!r}; give a number of 0.5 to 10.")
        self.temperature = value

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        logits, dims = network_output(self.network, given, "RelaxedCategorical")
        temperature = logits.new_tensor(self.temperature)
        return GumbelSoftmax(temperature, logits=bounded(logits)).to_event(dims - 1)


class GumbelSoftmax(dist.RelaxedOneHotCategorical):
    """Pyro's, whose draws sum to 1 as nearly as float32 allows: by logarithms they miss the check of its support."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Points of the simplex."""
        base = self.base_dist
        uniform = clamp_probs(
            torch.rand(
                self._extended_shape(torch.Size(sample_shape)), dtype=base.logits.dtype, device=base.logits.device
            )
        )
        return torch.softmax((base.logits - (-uniform.log()).log()) / base.temperature, -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """The same, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)


class StraightThrough(nn.Module):
    r"""The corner of the simplex nearest to a point; its gradient is taken for that of the point itself.

    \[ e_{\operatorname{argmax} s} + s - \operatorname{sg}(s) \]

    In front of a decoder, after a `RelaxedCategorical` latent. The decoder then sees exact classes, so that evidence is
    that of the model with classes; the gradient of the decoder's input is biased.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.StraightThrough()(torch.tensor([0.2, 0.7, 0.1]))
        tensor([0., 1., 0.])
    """

    input_dims = 2

    def forward(self, s: Tensor) -> Tensor:
        """Zeros and ones, of the same shape."""
        corner = torch.zeros_like(s).scatter(-1, s.argmax(-1, keepdim=True), 1.0)
        return corner + (s - s.detach())
