"""Mixtures of diagonal normals that all rows have in common, whose densities are products of matrices."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


class NormalMixture(dist.MixtureSameFamily):
    r"""A mixture of the same diagonal normals for every row.

    \[ -2 \log \mathcal N(z; \mu_k, \sigma_k^2) = \sum_i \frac{z_i^2}{\sigma_{ki}^2}
    - 2 \sum_i z_i \frac{\mu_{ki}}{\sigma_{ki}^2} + \sum_i \frac{\mu_{ki}^2}{\sigma_{ki}^2} + \log 2\pi\sigma_{ki}^2 \]

    Two products of matrices, (rows, d) by (d, K), where torch's own makes numbers of (rows, K, d), five times over.
    They are computed in double precision, since the sums cancel where components are narrow.

    Args:
        weights: a categorical distribution of K components, without batch dims.
        components: normals of the event dims behind K batch dims.
    """

    def __init__(self, weights: Any, components: Any, validate_args: bool | None = None):
        super().__init__(weights, components, validate_args=validate_args)
        self.common = weights.logits, components.base_dist.loc, components.base_dist.scale

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same for more rows."""
        found = super().expand(batch_shape, _instance=self.__new__(type(self)) if _instance is None else _instance)
        found.common = self.common
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """Of each row."""
        if self._validate_args:
            self._validate_sample(value)
        logits, loc, scale = (one.double() for one in self.common)
        z, loc, scale = value.double().flatten(-len(self.event_shape)), loc.flatten(1), scale.flatten(1)
        precision = scale**-2
        squares = z**2 @ precision.T - 2 * (z @ (loc * precision).T) + (loc**2 * precision).sum(1)
        norms = scale.log().sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[-1]
        found = (logits.log_softmax(0) - norms - 0.5 * squares).logsumexp(-1)
        return found.to(value.dtype).expand(torch.broadcast_shapes(found.shape, self.batch_shape))


def mixture_of(weights: Any, components: Any) -> Any:
    """A mixture of K components, a `NormalMixture` where they are independent normals."""
    normal = type(components).__name__ == "Independent" and type(components.base_dist).__name__ == "Normal"
    return (NormalMixture if normal else dist.MixtureSameFamily)(weights, components)
