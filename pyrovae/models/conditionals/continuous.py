"""Families of real numbers, positive numbers and numbers in [0, 1]."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import (
    Conditional,
    Scale,
    bounded,
    check_network,
    check_scale,
    chunks,
    loc_and_scale,
    scale_of,
)
from pyrovae.models.conditionals.distributions import ContinuousBernoulliByLogits, OpenBeta


class Normal(Conditional):
    r"""Normal observation noise around what the network gives.

    \[ \prod_i \mathcal N(x_i \mid \mu_i, \sigma_i^2) \]

    Args:
        network: Gives μ, or with `scale=None` (μ, s) with σ = exp(b(s)): 2 numbers per element.
        scale: None (the network gives it), a positive number (fixed), or `LearnedScale(shape)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Normal(pv.MLP(2, [8], 3), scale=pv.LearnedScale(3))(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any, scale: Scale = None):
        super().__init__()
        self.scale = check_scale(scale, "Normal")
        self.network = check_network(network, "Normal", 1 + (scale is None))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        loc, scale, dims = loc_and_scale(self, given)
        return dist.Normal(loc, scale).to_event(dims)


class Laplace(Conditional):
    r"""Laplace observation noise, whose best μ is a median: \( \prod_i e^{-|x_i - \mu_i| / s_i} / (2 s_i) \).

    Args:
        network: Gives μ, or with `scale=None` (μ, log s): 2 numbers per element.
        scale: None (the network gives it), a positive number (fixed), or `LearnedScale(shape)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Laplace(pv.MLP(2, [8], 3), scale=0.5)(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any, scale: Scale = None):
        super().__init__()
        self.scale = check_scale(scale, "Laplace")
        self.network = check_network(network, "Laplace", 1 + (scale is None))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        loc, scale, dims = loc_and_scale(self, given)
        return dist.Laplace(loc, scale).to_event(dims)


class StudentT(Conditional):
    r"""Student's t observation noise, for data with outliers.

    \[ \prod_i \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2) \sqrt{\nu \pi}\, \sigma_i}
    \Big(1 + \tfrac{(x_i - \mu_i)^2}{\nu \sigma_i^2}\Big)^{-(\nu + 1) / 2} \]

    Args:
        network: Gives μ, or with `scale=None` (μ, log σ): 2 numbers per element.
        scale: None (the network gives it), a positive number (fixed), or `LearnedScale(shape)`.
        df: ν, a positive number or `LearnedScale(shape)`. The mean needs ν > 1, the variance ν > 2; 4 has both
            and still lets an outlier cost the logarithm of its distance only.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.StudentT(pv.MLP(2, [8], 3), scale=1.0, df=4.0)(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any, scale: Scale = None, *, df: float | nn.Module = 4.0):
        super().__init__()
        if df is None:
            raise ArgumentError("pv.StudentT: df=None: give a positive number or pv.LearnedScale(shape)")
        self.scale, self.df = check_scale(scale, "StudentT"), check_scale(df, "StudentT", "df")
        self.network = check_network(network, "StudentT", 1 + (scale is None))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        loc, scale, dims = loc_and_scale(self, given)
        df = scale_of(self.df, loc, dims, "StudentT")
        return dist.StudentT(df, loc, scale).to_event(dims)


class LogNormal(Conditional):
    r"""A log-normal, for positive data: \( \log x_i \sim \mathcal N(\mu_i, \sigma_i^2) \).

    Args:
        network: Gives μ, or with `scale=None` (μ, s) with σ = exp(b(s)): 2 numbers per element.
        scale: None (the network gives it), a positive number (fixed), or `LearnedScale(shape)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.LogNormal(pv.MLP(2, [8], 2 * 3))(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    # μ is a log-scale itself: exp(20) = 5e8. σ below e^2 = 7.4 keeps the mean, exp(μ + σ^2 / 2), finite in
    # float32; a spread of 7.4 natural logs is more than data have.
    _LOC, _UPPER = 20.0, 2.0

    def __init__(self, network: Any, scale: Scale = None):
        super().__init__()
        self.scale = check_scale(scale, "LogNormal")
        self.network = check_network(network, "LogNormal", 1 + (scale is None))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        loc, scale, dims = loc_and_scale(self, given, upper=self._UPPER)
        return dist.LogNormal(bounded(loc, -self._LOC, self._LOC), scale).to_event(dims)


class Beta(Conditional):
    r"""A beta, for data strictly between 0 and 1.

    \[ \prod_i \frac{x_i^{\alpha_i - 1} (1 - x_i)^{\beta_i - 1}}{B(\alpha_i, \beta_i)} \]

    Args:
        network: Gives (log α, log β), bounded: 2 numbers per element.

    0 and 1 themselves are outside the support, since the density there is 0 or infinite.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Beta(pv.MLP(2, [8], 2 * 3))(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    # Below exp(-5) = 0.007 every draw is 0 or 1 in float32.
    _LOWER = -5.0

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "Beta", 2)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        (one, zero), dims = chunks(self.network, given, 2, "Beta")
        one, zero = bounded(one, self._LOWER).exp(), bounded(zero, self._LOWER).exp()
        return OpenBeta(one, zero).to_event(dims)


class ContinuousBernoulli(Conditional):
    r"""Grey values in [0, 1], 0 and 1 included.

    \[ \prod_i \frac{\lambda_i\, e^{\lambda_i x_i}}{e^{\lambda_i} - 1} \]

    Args:
        network: Gives the logits λ, bounded by ±1000.

    References:
        Loaiza-Ganem and Cunningham, The continuous Bernoulli, 2019.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.ContinuousBernoulli(pv.MLP(2, [8], 784))(torch.zeros(4, 2)).event_shape
        torch.Size([784])
    """

    # 1 / |λ| is the distance of the mean from 0 or 1. Below a thousandth, a quarter of a grey level of 8 bits,
    # the data cannot tell, and the density at an always black pixel, which is |λ|, would grow for ever.
    _LIMIT = 1000.0

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "ContinuousBernoulli", 1)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        (logits,), dims = chunks(self.network, given, 1, "ContinuousBernoulli")
        return ContinuousBernoulliByLogits(bounded(logits, -self._LIMIT, self._LIMIT)).to_event(dims)
