"""Modules whose `forward` returns a distribution: nets are arguments, shapes follow one rule.

The rule: a family that takes k numbers per element wants a network whose output's *first* event dim is k
times the event's, (2 * 8) for `DiagNormal` on 8 dims, (2 * 3, 32, 32) for `Normal` on 3 x 32 x 32 images. The
batch shape of the distribution is the leading dims of the input, the rest is event.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .distributions import ContinuousBernoulliByLogits, DiscretizedLogisticLevels, OpenBeta
from .errors import ArgumentError
from .parameters import (
    LearnedScale,
    bounded,
    bounded_rows,
    check_network,
    check_scale,
    chunks,
    scale_of,
)

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Conditional",
    "ContinuousBernoulli",
    "DiagNormal",
    "DiscretizedLogistic",
    "FullNormal",
    "Laplace",
    "LearnedScale",
    "LogNormal",
    "LowRankNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
]


class Conditional(nn.Module, ABC):
    r"""A module whose `forward(*given)` returns a Pyro distribution: \( p(\cdot \mid \text{given}) \).

    Its batch shape is the leading dims of `given`, its events are declared by `.to_event`. It holds parameters
    and buffers only, and draws nothing itself. Priors are conditionals of nothing: `forward()` has batch shape `()`.

    A network may be any module or function that keeps leading dims. How many event dims its first input has
    is its attribute `input_dims` (1 where it has none).

    Example:
        >>> import pyro.distributions as dist, torch, pyrovae as pv
        >>> class Exponential(pv.Conditional):
        ...     def __init__(self, network):
        ...         super().__init__()
        ...         self.network = network
        ...     def forward(self, *given):
        ...         return dist.Exponential(torch.nn.functional.softplus(self.network(*given))).to_event(1)
        >>> Exponential(pv.MLP(2, [8], 3))(torch.zeros(5, 2)).event_shape
        torch.Size([3])
    """

    @abstractmethod
    def forward(self, *given: Tensor) -> Any:
        """The distribution given these."""


class DiagNormal(Conditional):
    r"""A normal with a diagonal covariance, mostly for latents.

    \[ \mathcal N\big(\mu, \operatorname{diag}(\sigma^2)\big), \qquad (\mu, s) = f(\text{given}), \quad
    \sigma = e^{b(s)} \]

    with b the smooth bound to ±10.

    Args:
        network: Gives (2 d, …) for an event (d, …).

    References:
        Kingma and Welling, Auto-encoding variational Bayes, 2014.

    Example:
        >>> import torch, pyrovae as pv
        >>> pv.DiagNormal(pv.MLP(5, [8], 2 * 3))(torch.zeros(4, 5))
        Independent(Normal(loc: torch.Size([4, 3]), scale: torch.Size([4, 3])), 1)
    """

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "DiagNormal", 2)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (d, …)."""
        (loc, raw), dims = chunks(self.network, given, 2, "DiagNormal")
        return dist.Normal(loc, bounded(raw).exp()).to_event(dims)


class FullNormal(Conditional):
    r"""A normal with a full covariance, by its Cholesky factor.

    \[ \mathcal N\big(\mu, L L^\top\big), \qquad L_{ij} = \sigma_i\, C_{ij}, \qquad
    C_i = \frac{(u_{i1}, \dots, u_{i,i-1}, 1, 0, \dots)}{\sqrt{1 + |u_i|^2}} \]

    so that σ are the standard deviations, σ = exp(b(s)), and \( C C^\top \) the correlations.

    Args:
        network: Gives a vector of d (d + 3) / 2 for an event (d,): μ, s, then u row by row.

    Example:
        >>> import torch, pyrovae as pv
        >>> pv.FullNormal(pv.MLP(5, [8], 3 * 6 // 2))(torch.zeros(4, 5)).event_shape
        torch.Size([3])
    """

    # |u| stays below 10: what a dim leaves unexplained by the others is then at least a tenth of
    # its scale, and the triangular solve of a wild first step stays finite.
    _LIMIT = 10.0

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "FullNormal", 1)
        if hasattr(network, "output_shape"):
            self._size(torch.Size(network.output_shape))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (d,)."""
        (output,), dims = chunks(self.network, given, 1, "FullNormal")
        d = self._size(output.shape[output.dim() - dims :])
        loc, raw, entries = output.split([d, d, d * (d - 1) // 2], -1)
        rows, columns = torch.tril_indices(d, d, -1, device=output.device)
        lower = output.new_zeros(*output.shape[:-1], d, d).index_put(
            (..., rows, columns) if False else _last_two(output, rows, columns), entries
        )
        lower = bounded_rows(lower, self._LIMIT)
        unit = torch.cat([lower, torch.ones_like(lower[..., :1])], -1)
        raise NotImplementedError

    @staticmethod
    def _size(event: torch.Size) -> int:
        """d, from d (d + 3) / 2 numbers."""
        if len(event) == 1:
            d = (math.isqrt(9 + 8 * event[0]) - 3) // 2
            if d >= 1 and d * (d + 3) // 2 == event[0]:
                return d
        raise ArgumentError(
            "pv.FullNormal takes d * (d + 3) // 2 numbers for an event of d (2 -> 5, 3 -> 9, 8 -> 44), got a "
            f"network whose output has event shape {tuple(event)}"
        )
