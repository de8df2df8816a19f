"""The distribution of a chain of normal vectors, each a linear function of its neighbour plus noise."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property


class LinearChain(TorchDistribution):
    r"""A chain of normal vectors, \( z_t = G_t z_{t-1} + b_t + L_t \varepsilon_t \), from \( z_0 = 0 \) on.

    Args:
        gain: G, (*batch, steps, k, k).
        loc: b, (*batch, steps, k).
        scale_tril: L, (*batch, steps, k, k).
        backward: whether it goes from the last step to the first, \( z_t = G_t z_{t+1} + b_t + L_t \varepsilon_t \).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it
    support = constraints.independent(constraints.real, 2)  # type: ignore[assignment]  # torch declares a property
    has_rsample = True

    def __init__(self, gain: Tensor, loc: Tensor, scale_tril: Tensor, *, backward: bool = False):
        self.gain, self.loc, self.scale_tril, self.backward = gain, loc, scale_tril, backward
        super().__init__(loc.shape[:-2], loc.shape[-2:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LinearChain:
        """The same for a larger batch."""
        batch, (steps, k) = torch.Size(batch_shape), self.event_shape
        wide = [part.expand((*batch, steps, k, k)) for part in (self.gain, self.scale_tril)]
        return LinearChain(wide[0], self.loc.expand((*batch, steps, k)), wide[1], backward=self.backward)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of all steps, (*sample_shape, *batch, steps, k)."""
        noise = torch.randn(self.shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device)
        return self._along(_times(self.scale_tril, noise) + self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of all steps at once."""
        none = torch.zeros_like(value[..., :1, :])
        parts = [value[..., 1:, :], none] if self.backward else [none, value[..., :-1, :]]
        rest = value - _times(self.gain, torch.cat(parts, -2)) - self.loc
        return dist.MultivariateNormal(torch.zeros_like(rest), scale_tril=self.scale_tril).log_prob(rest).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Of each step, (*batch, steps, k)."""
        return self._along(self.loc)

    @property
    def variance(self) -> Tensor:
        """Of each step, (*batch, steps, k)."""
        return self.covariance.diagonal(dim1=-2, dim2=-1)

    @lazy_property
    def covariance(self) -> Tensor:
        """Of each step, (*batch, steps, k, k)."""
        found: dict[int, Tensor] = {}
        added = self.scale_tril @ self.scale_tril.mT
        last = torch.zeros_like(added[..., 0, :, :])
        for t in self._order():
            gain = self.gain[..., t, :, :]
            last = found[t] = gain @ last @ gain.mT + added[..., t, :, :]
        return torch.stack([found[t] for t in sorted(found)], -3)

    def _along(self, added: Tensor) -> Tensor:
        """The chain of what is added in each step."""
        found: dict[int, Tensor] = {}
        last = torch.zeros_like(added[..., 0, :])
        for t in self._order():
            last = found[t] = _times(self.gain[..., t, :, :], last) + added[..., t, :]
        return torch.stack([found[t] for t in sorted(found)], -2)

    def _order(self) -> list[int]:
        steps = list(range(self.event_shape[0]))
        return steps[::-1] if self.backward else steps


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
