"""A masked affine autoregressive transform whose inverse takes any type of number, and no index from the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.transforms import AffineAutoregressive
from pyro.distributions.transforms.utils import clamp_preserve_gradients
from torch import Tensor, nn

from pyrovae.models.conditionals.conditional import bounded


class AutoregressiveStep(AffineAutoregressive):
    r"""Pyro's `AffineAutoregressive`: \( y_i = \sigma_i(x_{<i})\, x_i + \mu_i(x_{<i}) \), with an inverse of its own.

    Args:
        network: A masked network, such as `pyro.nn.AutoRegressiveNN`, of vectors to (μ, log σ).
    """

    def __init__(self, network: Any):
        super().__init__(network)

    def _inverse(self, y: Tensor) -> Tensor:
        # Each pass makes one more dim right, whatever the order, since it depends on those that are right alone.
        x, log_scale = torch.zeros_like(y), torch.zeros_like(y)
        for _ in range(y.shape[-1]):
            loc, raw = self.arn(x)
            log_scale = clamp_preserve_gradients(raw, self.log_scale_min_clip, self.log_scale_max_clip)
            x = (y - loc) * torch.exp(-log_scale)
        self._cached_log_scale = log_scale
        return x


class CalmNetwork(nn.Module):
    """A network of (μ, log σ) whose transform starts close to the identity, and whose σ stays within e^-2 and e^2.

    Pyro's own stay within e^-5 and e^3, and several of them in a row take a wild step to infinity.

    Args:
        network: of Pyro, such as `DenseNN` or `AutoRegressiveNN`.
    """

    def __init__(self, network: Any):
        super().__init__()
        self.network = calm(network)

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ."""
        loc, raw = self.network(*given)
        return loc, bounded(raw, -2.0, 2.0)


def network_of_pyro(make: Callable[..., Any], *given: Any) -> Any:
    """A network of Pyro on the default device; while it is made, its tensors must be such as hold numbers."""
    device = torch.get_default_device()
    with torch.device("cpu"):
        return make(*given).to(device)


def calm(network: Any) -> Any:
    """The network of a transform with a last layer so small that the transform starts close to the identity."""
    last: nn.Linear = network.layers[-1]
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.mul_(0.01)
    return network
