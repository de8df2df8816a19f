"""Families of zeros and ones, class numbers, counts and grey levels."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import (
    LOWER,
    Conditional,
    Scale,
    bounded,
    check_network,
    check_scale,
    chunks,
    loc_and_scale,
    network_output,
)
from pyrovae.models.conditionals.distributions import DiscretizedLogisticLevels
from pyrovae.pairs.numbers import check_count

# Counts have no unit to choose: a mean may be exp(15), 3 million.
_COUNTS = 15.0


class Bernoulli(Conditional):
    r"""Zeros and ones, or booleans: \( \prod_i \sigma(\lambda_i)^{x_i} (1 - \sigma(\lambda_i))^{1 - x_i} \).

    Args:
        network: Gives the logits λ.

    Grey values between 0 and 1 are outside the support, since the formula is no density for them: binarise
    them, or see `ContinuousBernoulli` and `DiscretizedLogistic`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Bernoulli(pv.MLP(2, [8], (28, 28)))(torch.zeros(4, 2)).event_shape
        torch.Size([28, 28])
    """

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "Bernoulli", 1)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        (logits,), dims = chunks(self.network, given, 1, "Bernoulli")
        return dist.Bernoulli(logits=logits).to_event(dims)


class Categorical(Conditional):
    r"""Class numbers 0, …, K - 1: \( \prod_i \operatorname{softmax}(\lambda_i)_{x_i} \).

    Args:
        network: Gives the logits λ. With `classes=None` a vector (K,), for one class number per datum
            (event shape `()`); otherwise (K d, …) for an event (d, …), logits of class 0 first.
        classes: K, for several class numbers per datum.

    A class number has no mean: the distribution's `mean` is NaN, as torch has it, its `mode` the likeliest class.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Categorical(pv.MLP(2, [8], 10))(torch.zeros(4, 2))
        Categorical(logits: torch.Size([4, 10]))
        >>> pv.Categorical(pv.MLP(2, [8], 10 * 3), classes=10)(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any, classes: int | None = None):
        super().__init__()
        if classes is not None:
            classes = check_count("classes", classes, where="pv.Categorical: ")
        self.network = check_network(network, "Categorical", 1 if classes is None else classes)
        self.classes = classes

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        if self.classes is not None:
            logits, dims = chunks(self.network, given, self.classes, "Categorical")
            return dist.Categorical(logits=torch.stack(logits, -1)).to_event(dims)
        logits, dims = network_output(self.network, given, "Categorical")
        if dims != 1:
            raise ArgumentError(
                f"pv.Categorical without classes= takes a vector of logits, its network gives {dims} event dims: "
                "say how many classes, as in pv.Categorical(network, classes=10)"
            )
        return dist.Categorical(logits=logits)


class Poisson(Conditional):
    r"""Counts whose variance is their mean: \( \prod_i \mu_i^{x_i} e^{-\mu_i} / x_i! \).

    Args:
        network: Gives log μ, bounded.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.Poisson(pv.MLP(2, [8], 3))(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any):
        super().__init__()
        self.network = check_network(network, "Poisson", 1)

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        (raw,), dims = chunks(self.network, given, 1, "Poisson")
        return dist.Poisson(bounded(raw, LOWER, _COUNTS).exp()).to_event(dims)


class NegativeBinomial(Conditional):
    r"""Counts with variance \( \mu + \mu^2 / r \): a Poisson whose rate is gamma with shape r.

    \[ \prod_i \frac{\Gamma(x_i + r_i)}{x_i!\, \Gamma(r_i)} \Big(\frac{\mu_i}{\mu_i + r_i}\Big)^{x_i}
    \Big(\frac{r_i}{\mu_i + r_i}\Big)^{r_i} \]

    Args:
        network: Gives log μ, or with `total_count=None` (log μ, log r): 2 numbers per element.
        total_count: r; None (the network gives it), a positive number (fixed), or `LearnedScale(shape)`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.NegativeBinomial(pv.MLP(2, [8], 3), pv.LearnedScale(3))(torch.zeros(4, 2)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any, total_count: Scale = None):
        super().__init__()
        self.scale = check_scale(total_count, "NegativeBinomial", "total_count")
        self.network = check_network(network, "NegativeBinomial", 1 + (total_count is None))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        raw, total_count, dims = loc_and_scale(self, given)
        logits = bounded(raw, LOWER, _COUNTS) - total_count.log()
        return dist.NegativeBinomial(total_count.expand(logits.shape), logits=logits).to_event(dims)


class DiscretizedLogistic(Conditional):
    r"""Grey or colour levels 0, …, 255 as they are (uint8 or the same numbers as floats), or divided by 255.

    \[ P(x_i) = \sigma\Big(\frac{x_i + 1/2 - \mu_i}{s_i}\Big) - \sigma\Big(\frac{x_i - 1/2 - \mu_i}{s_i}\Big) \]

    with the tails gathered on levels 0 and 255, so that the 256 masses add up to 1. The network speaks in
    units of half the range: \( \mu = 127.5\,(1 + m) \), \( s = 127.5\, e^{b(t)} \), so that its first output,
    near 0, means mid-grey.

    Args:
        network: Gives m, or with `scale=None` (m, t): 2 numbers per element.
        scale: s in levels; None (the network gives it), a positive number (fixed), or `LearnedScale(shape)`.
        levels: How many levels there are.
        highest: What the last level is in the data: None for `levels - 1`, 1.0 for images divided by 255. A value
            between two levels counts as the nearest one.

    References:
        Kingma et al., Improved variational inference with inverse autoregressive flow, 2016; Salimans et al.,
        PixelCNN++, 2017.

    Examples:
        >>> import torch, pyrovae as pv
        >>> given = torch.zeros(4, 2)
        >>> pixel = pv.DiscretizedLogistic(pv.MLP(2, [8], 2 * 1))(given)
        >>> levels = torch.arange(256).reshape(256, 1, 1).expand(256, 4, 1)
        >>> pixel.log_prob(levels).exp().sum(0).allclose(torch.ones(4))
        True
    """

    # exp(-7) of half the range is an eighth of a level: all the mass is on one level, and a smaller
    # scale changes nothing (the same floor as in PixelCNN++). exp(3) is flat over the range, but for its ends.
    _LOWER, _UPPER = -7.0, 3.0

    def __init__(self, network: Any, scale: Scale = None, *, levels: int = 256, highest: float | None = None):
        super().__init__()
        levels = check_count("levels", levels, least=2, where="pv.DiscretizedLogistic: ")
        self.scale, self.levels = check_scale(scale, "DiscretizedLogistic"), levels
        self.highest = check_scale(highest, "DiscretizedLogistic", "highest") or float(levels - 1)
        self.network = check_network(network, "DiscretizedLogistic", 1 + (scale is None))

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        middle, scale, dims = loc_and_scale(self, given, self._LOWER, self._UPPER)
        half = (self.levels - 1) / 2
        scale = scale * half if self.scale is None else scale
        return DiscretizedLogisticLevels(half * (1 + middle), scale, self.levels, self.highest).to_event(dims)
