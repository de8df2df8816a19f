"""Normals for latents: diagonal, full and low-rank covariance."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import (
    Conditional,
    bounded,
    bounded_rows,
    check_network,
    chunks,
    network_output,
)
from pyrovae.pairs.numbers import check_count


class DiagNormal(Conditional):
    r"""A normal with a diagonal covariance, mostly for latents.

    \[ \mathcal N\big(\mu, \operatorname{diag}(\sigma^2)\big), \qquad (\mu, s) = f(\text{given}), \quad
    \sigma = e^{b(s)} \]

    with b the smooth bound to ±10.

    Args:
        network: Gives (2 d, …) for an event (d, …).

    References:
        Kingma and Welling, Auto-encoding variational Bayes, 2014.

    Examples:
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

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.FullNormal(pv.MLP(5, [8], 3 * 6 // 2))(torch.zeros(4, 5)).event_shape
        torch.Size([3])
    """

    # |u| stays below 10: what a dim leaves unexplained by the others is then at least a tenth of
    # its scale, and the triangular solve of a wild first step stays finite.
    _LIMIT = 10.0

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "FullNormal", _vector_size)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (d,)."""
        output, dims = network_output(self.network, given, "FullNormal")
        d = _vector_size(output.shape[output.dim() - dims :], "FullNormal")
        loc, raw = output[..., :d], output[..., d : 2 * d]
        lower = bounded_rows(output[..., _triangle(d, output.device)].tril(-1), self._LIMIT)
        rows = lower + torch.eye(d, dtype=output.dtype, device=output.device)
        scale = bounded(raw).exp() * torch.rsqrt(rows.square().sum(-1))
        return dist.MultivariateNormal(loc, scale_tril=scale.unsqueeze(-1) * rows)


class LowRankNormal(Conditional):
    r"""A normal with a covariance of low rank plus diagonal.

    \[ \mathcal N\big(\mu, D (I + U U^\top) D\big), \qquad D = \operatorname{diag}(e^{b(s)}), \quad
    U \in \mathbb R^{d \times r} \]

    Args:
        network: Gives a vector of (2 + r) d for an event (d,): μ, s, then the columns of U.
        rank: r.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.LowRankNormal(pv.MLP(5, [8], (2 + 1) * 4), rank=1)(torch.zeros(6, 5)).event_shape
        torch.Size([4])
    """

    # Rows of U stay below 10, so that I + U'U, which is factorised, keeps a condition number that float32 bears.
    _LIMIT = 10.0

    def __init__(self, network: Any, rank: int):
        super().__init__()
        rank = check_count("rank", rank, where="pv.LowRankNormal: ")
        self.network, self.rank = check_network(network, "LowRankNormal", 2 + rank), rank

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (d,)."""
        (loc, raw, *columns), dims = chunks(self.network, given, 2 + self.rank, "LowRankNormal")
        if dims != 1:
            raise ArgumentError("pv.LowRankNormal is for vectors: its network's output must have one event dim")
        scale = bounded(raw).exp()
        factor = bounded_rows(torch.stack(columns, -1), self._LIMIT) * scale.unsqueeze(-1)
        return dist.LowRankMultivariateNormal(loc, factor, scale.square())


def _vector_size(event: tuple[int, ...], owner: str) -> int:
    """d, from d (d + 3) / 2 numbers."""
    d = (math.isqrt(9 + 8 * event[0]) - 3) // 2 if len(event) == 1 else 0
    if d < 1 or d * (d + 3) // 2 != event[0]:
        raise ArgumentError(
            f"pv.{owner} takes a vector of d * (d + 3) // 2 numbers for an event of d (2 -> 5, 3 -> 9, 8 -> 44); "
            f"its network's output has event shape {tuple(event)}"
        )
    return d


def _triangle(d: int, device: torch.device) -> Tensor:
    """Where, among the numbers that a network gives for d dims, each entry below the diagonal stands."""
    rows, columns = torch.tril_indices(d, d, -1, device=device)
    index = torch.zeros(d, d, dtype=torch.long, device=device)
    index[rows, columns] = torch.arange(2 * d, d * (d + 3) // 2, device=device)
    return index
