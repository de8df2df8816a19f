"""Distributions that torch lacks, or gets wrong at the ends."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all, lazy_property
from torch.nn.functional import logsigmoid


class ContinuousBernoulliByLogits(TorchDistribution):
    r"""The continuous Bernoulli with logits λ, exact for every λ.

    \[ p(x) = e^{\lambda x} \frac{\lambda}{e^\lambda - 1}, \qquad x \in [0, 1] \]

    torch's own clamps λ to ±16 in float32 inside the normaliser only, so that beyond it is no density.
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012  # pyright: ignore
    support = constraints.unit_interval  # pyright: ignore
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None):
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with another batch shape."""
        new: Any = self._get_checked_instance(ContinuousBernoulliByLogits, _instance)
        new.logits = self.logits.expand(batch_shape)
        TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _half(self) -> tuple[Tensor, Tensor]:
        """|λ| / 2 kept away from 0, and where it is so small that a series takes over."""
        half = self.logits.abs() / 2
        small = half < 0.1
        return torch.where(small, 1.0, half), small

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the formula above, elementwise."""
        if self._validate_args:
            self._validate_sample(value)
        half, small = self._half()
        # log(sinh(h) / h), even in λ; the series is exact to 1e-11 below 0.1.
        exact = half + torch.log1p(-torch.exp(-2 * half)) - torch.log(2 * half)
        square = torch.where(small, (self.logits / 2) ** 2, 0.0)
        series = square / 6 - square**2 / 180 + square**3 / 2835
        return self.logits * (value - 0.5) - torch.where(small, series, exact)

    @property
    def mean(self) -> Tensor:
        """The exact mean."""
        half, small = self._half()
        exact = (1 / torch.tanh(half) - 1 / half) / 2
        quarter = torch.where(small, self.logits.abs() / 2, 0.0)
        series = quarter / 6 - quarter**3 / 90 + quarter**5 / 945
        return 0.5 + self.logits.sign() * torch.where(small, series, exact)

    @property
    def variance(self) -> Tensor:
        """The exact variance."""
        half, small = self._half()
        # 1 / sinh(h)^2 without overflow.
        inverse = 4 * torch.exp(-2 * half) / (1 - torch.exp(-2 * half)) ** 2
        exact = (1 / half**2 - inverse) / 4
        square = torch.where(small, (self.logits / 2) ** 2, 0.0)
        series = (1 / 3 - square / 15 + 2 * square**2 / 189) / 4
        return torch.where(small, series, exact)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """The inverse distribution function at a uniform draw, on the side where it is exact."""
        shape = self._extended_shape(sample_shape)
        uniform = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        size = self.logits.abs()
        small = size < 0.1
        steep = torch.where(small, 1.0, size)
        from_top = 1 + torch.log(uniform + (1 - uniform) * torch.exp(-steep)) / steep
        exact = torch.where(self.logits < 0, 1 - from_top, from_top)
        # log(1 + u (e^λ - 1)) generates the cumulants of a Bernoulli of mean u: four of them are exact to 1e-7 here.
        flat, spread = torch.where(small, self.logits, 0.0), uniform * (1 - uniform)
        third, fourth = spread * (1 - 2 * uniform), spread * (1 - 6 * spread)
        series = uniform + flat * (spread / 2 + flat * (third / 6 + flat * fourth / 24))
        return torch.where(small, series, exact).clamp(0, 1)


# In units of the scale: no mass is left there in double precision, and smaller exponentials, or their squares, would be
# subnormal numbers, at which a processor takes ten times as long and more.
_FAR = 40.0


class DiscretizedLogisticLevels(TorchDistribution):
    r"""A logistic distribution whose mass is gathered on the levels 0, 1, …, L - 1.

    \[ P(k) = \sigma\!\left(\tfrac{k + 1/2 - \mu}{s}\right) - \sigma\!\left(\tfrac{k - 1/2 - \mu}{s}\right) \]

    with the tails gathered on the first and the last level, so that the sum over levels is 1.
    A value between two levels counts as the nearest one.

    Args:
        loc: μ, in levels.
        scale: s, in levels.
        levels: L.
        highest: What level L - 1 is in the data: 255 for uint8 images, 1 for the same divided by 255.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012  # pyright: ignore

    def __init__(
        self, loc: Tensor, scale: Tensor, levels: int, highest: float | Tensor, validate_args: bool | None = None
    ):
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels, self.highest = levels, highest
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From the first level to the last; values between are rounded."""
        return constraints.interval(0.0, self.highest)

    @property
    def spacing(self) -> float:
        """The distance of neighbouring levels in the data."""
        return float(torch.as_tensor(self.highest).max()) / (self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with another batch shape."""
        new: Any = self._get_checked_instance(DiscretizedLogisticLevels, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        new.levels, new.highest = self.levels, self.highest
        TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the formula above, elementwise."""
        if self._validate_args:
            self._validate_sample(value)
        level = torch.round(value.to(self.loc.dtype) * (self.levels - 1) / self.highest)
        first, last = level <= 0, level >= self.levels - 1
        rate = 1 / self.scale
        middle = (level - self.loc) * rate
        upper = torch.where(last, _FAR, middle + 0.5 * rate)
        lower = torch.where(first, -_FAR, middle - 0.5 * rate)
        # σ(a) - σ(b) = σ(a) σ(-b) (1 - exp(b - a)) loses nothing in either tail, where the difference of two numbers
        # near 0 or 1 would; a - b is 1 / s, and log σ(a) = min(a, 0) - log(1 + exp(-|a|)).
        mass = torch.where(first | last, 1.0, -torch.expm1(-rate))
        above, below = (1 + torch.exp(-end.abs().clamp(max=_FAR)) for end in (upper, lower))
        return torch.log(mass / (above * below)) + upper.clamp(max=0) - lower.clamp(min=0)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape `(*sample_shape, *batch)`, as the data have them."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
            level = torch.round(self.loc + self.scale * torch.logit(uniform)).clamp(0, self.levels - 1)
            return level * self.highest / (self.levels - 1)

    @lazy_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """E[k] and E[k^2] by sums of the upper tails; one level at a time, since L copies would not fit."""
        first, second = torch.zeros_like(self.loc), torch.zeros_like(self.loc)
        for k in range(1, self.levels):
            tail = torch.sigmoid((self.loc - k + 0.5) / self.scale)
            first, second = first + tail, second + (2 * k - 1) * tail
        return first, second

    @property
    def mean(self) -> Tensor:
        """The exact mean."""
        return self._moments[0] * self.highest / (self.levels - 1)

    @property
    def variance(self) -> Tensor:
        """The exact variance."""
        first, second = self._moments
        return (second - first**2).clamp(min=0) * (self.highest / (self.levels - 1)) ** 2


class OpenBeta(dist.Beta):
    """A beta whose support leaves out 0 and 1, where its density is 0 or infinite (and which torch never draws)."""

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The open interval: from the smallest number above 0 to the largest below 1."""
        limits = torch.finfo(self.concentration1.dtype)
        return constraints.interval(limits.tiny, 1 - limits.eps / 2)


class _BesideZeros(TorchDistribution):
    """A mass at 0, of logits `zeros`, beside the rest, which subclasses give."""

    zeros: Tensor

    @property
    def _rest(self) -> Any:
        raise NotImplementedError  # each subclass has its own

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros, and draws of the rest."""
        with torch.no_grad():
            drawn = self._rest.sample(torch.Size(sample_shape))
            return torch.where(torch.rand_like(drawn) < self.zeros.sigmoid(), 0.0, drawn)

    @property
    def mean(self) -> Tensor:
        """Of both."""
        return self._rest.mean * (-self.zeros).sigmoid()

    @property
    def variance(self) -> Tensor:
        """Of both."""
        rest, share = self._rest, (-self.zeros).sigmoid()
        return share * (rest.variance + rest.mean.square()) - self.mean.square()


class ZeroOrLogNormal(_BesideZeros):
    r"""A mass at 0 beside a log-normal.

    \[ P(x = 0) = \sigma(\lambda), \qquad p(x) = (1 - \sigma(\lambda))\, \text{LogNormal}(x \mid \mu, s), \quad x > 0 \]

    A density with respect to length and a unit mass at 0.
    """

    arg_constraints = {  # noqa: RUF012  # pyright: ignore
        "zeros": constraints.real, "loc": constraints.real, "scale": constraints.positive,
    }  # fmt: skip
    support = constraints.nonnegative  # pyright: ignore

    def __init__(self, zeros: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None):
        self.zeros, self.loc, self.scale = broadcast_all(zeros, loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZeroOrLogNormal:
        """The same for a larger batch."""
        parts = (part.expand(batch_shape) for part in (self.zeros, self.loc, self.scale))
        return ZeroOrLogNormal(*parts, validate_args=self._validate_args)

    @property
    def _rest(self) -> Any:
        return dist.LogNormal(self.loc, self.scale, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the mass at 0, and of the density above."""
        if self._validate_args:
            self._validate_sample(value)
        none = value == 0
        above = self._rest.log_prob(torch.where(none, 1.0, value))
        return torch.where(none, logsigmoid(self.zeros), logsigmoid(-self.zeros) + above)


class WideNegativeBinomial(dist.NegativeBinomial):
    """A negative binomial for counts of any size: their log-gammas cancel, and are taken in double precision."""

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the mass."""
        return super().log_prob(value.double())


class InflatedNegativeBinomial(_BesideZeros):
    r"""A mass at 0 beside a negative binomial, which has zeros of its own.

    \[ P(x) = \sigma(\lambda)\, [x = 0] + \sigma(-\lambda)\, \text{NegativeBinomial}(x) \]
    """

    arg_constraints = {"zeros": constraints.real}  # noqa: RUF012  # pyright: ignore
    support = constraints.nonnegative_integer  # pyright: ignore

    def __init__(self, zeros: Tensor, total_count: Tensor, logits: Tensor, validate_args: bool | None = None):
        self.zeros, self.total_count, self.logits = broadcast_all(zeros, total_count, logits)
        super().__init__(self.logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> InflatedNegativeBinomial:
        """The same for a larger batch."""
        parts = (part.expand(batch_shape) for part in (self.zeros, self.total_count, self.logits))
        return InflatedNegativeBinomial(*parts, validate_args=self._validate_args)

    @property
    def _rest(self) -> Any:
        return WideNegativeBinomial(self.total_count, logits=self.logits, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the mass."""
        if self._validate_args:
            self._validate_sample(value)
        counted = logsigmoid(-self.zeros) + self._rest.log_prob(value)
        return torch.where(value == 0, torch.logaddexp(logsigmoid(self.zeros), counted), counted)
