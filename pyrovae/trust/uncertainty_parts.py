"""Running sums over a grid of draws, from which the parts of an uncertainty follow; no draw is kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from pyrovae.evaluation.estimate import Mean
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.classes import probabilities
from pyrovae.pairs.known_support import is_angle, known_support


class Parts(NamedTuple):
    """The parts for some rows, in double precision; `noise` is the aleatoric part in nats for each element."""

    aleatoric: Tensor
    latent: Tensor
    epistemic: Tensor
    noise: Tensor

    @property
    def total(self) -> Tensor:
        """What the parts add up to."""
        return self.aleatoric + self.latent + self.epistemic


class GridSpread(Protocol):
    """Running sums: `add` several inner draws, and `close` the group once all its inner draws were added."""

    @property
    def add(self) -> Callable[..., None]: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102

    def parts(self) -> Parts: ...  # noqa: D102


class MomentSums:
    """Mean and squared deviations within and between groups."""

    def __init__(self, spacing: float = 0.0):
        self.spacing = spacing
        self.inner, self.outer = Mean(), Mean()
        self.groups = 0
        self.aleatoric: Any = 0.0
        self.latent: Any = 0.0
        self.noise: Any = 0.0
        self._variance: Any = 0.0
        self._noise: Any = 0.0

    def add(self, mean: Tensor, variance: Tensor) -> None:
        """Conditional means and variances of some inner draws, (draws, ...)."""
        self.inner.add(mean)
        self._variance = self._variance + variance.sum(0)
        self._noise = self._noise + gaussian_nats(variance, self.spacing).sum(0)

    def close(self) -> None:
        """The end of a group."""
        count = self.inner.count
        self.aleatoric = self.aleatoric + self._variance / count
        self.noise = self.noise + self._noise / count
        self.latent = self.latent + self.inner.squares / count
        self.outer.add(self.inner.mean.unsqueeze(0))
        self.inner, self._variance, self._noise = Mean(), 0.0, 0.0
        self.groups += 1

    def parts(self) -> Parts:
        """Population variances on the grid."""
        n = self.groups
        return Parts(self.aleatoric / n, self.latent / n, self.outer.squares / n, self.noise / n)


class EntropySums:
    """Sums of class probabilities and of their entropies; the last dim holds the classes."""

    def __init__(self):
        self.groups = self.draws = 0
        self.inner: Any = 0.0
        self.outer: Any = 0.0
        self.noise: Any = 0.0
        self.within: Any = 0.0  # entropies of the groups' own predictions
        self._noise: Any = 0.0

    def add(self, probabilities: Tensor) -> None:
        """Class probabilities of some inner draws, (draws, ..., classes)."""
        self.draws += len(probabilities)
        self.inner = self.inner + probabilities.sum(0)
        self._noise = self._noise + entropy(probabilities).sum(0)

    def close(self) -> None:
        """The end of a group."""
        mean = self.inner / self.draws
        self.outer, self.within = self.outer + mean, self.within + entropy(mean)
        self.noise = self.noise + self._noise / self.draws
        self.inner, self._noise, self.draws = 0.0, 0.0, 0
        self.groups += 1

    def parts(self) -> Parts:
        """H(mean) as the noise's mean entropy, and the two mutual informations."""
        n = self.groups
        noise, within = self.noise / n, self.within / n
        return Parts(noise, within - noise, entropy(self.outer / n) - within, noise)


def entropy(probabilities: Tensor) -> Tensor:
    """Over the last dim, in nats."""
    return torch.special.entr(probabilities).sum(-1)


def gaussian_nats(variance: Tensor, spacing: float = 0.0) -> Tensor:
    """The entropy of a normal of this variance: the largest that a density of this variance has.

    Values on a grid are as wide as its spacing (Sheppard): a count that is sure has a variance of 0, which as that of
    a density would be minus infinitely many nats.
    """
    return 0.5 * (2 * math.pi * math.e * (variance + spacing**2 / 12)).log()


def spacing_of(base: Any) -> float:
    """The distance of neighbouring values: what the distribution says, 1 for whole numbers, 0 where there is none."""
    whole = bool(getattr(known_support(base), "is_discrete", False))
    return float(getattr(base, "spacing", 1.0 if whole else 0.0))


class Measure(NamedTuple):
    """How the uncertainty of one observed site is measured.

    Attributes:
        name: "variance" or "entropy".
        statistics: functions of the site's distribution, read at each draw; and how many dims each has behind the
            event.
        spread: makes the running sums.
        lost: how many dims of the event the result lacks (1 for one-hot vectors).
        spacing: the distance of neighbouring values; 0 for a density.
    """

    name: str
    statistics: tuple[tuple[Callable[[Any], Tensor], int], ...]
    spread: Callable[[], GridSpread]
    lost: int = 0
    spacing: float = 0.0

    def nats(self, parts: Parts) -> Tensor:
        """The total of each element in nats."""
        return parts.total if self.name == "entropy" else gaussian_nats(parts.total, self.spacing)


def measure_for(fn: Any, name: str) -> Measure | None:
    """The measure for a distribution; None where it has neither classes nor a mean and a variance.

    Args:
        fn: a distribution.
        name: "entropy", "variance", or "auto": entropies where there are classes.
    """
    base = base_of(fn)
    onehot = isinstance(base, torch.distributions.OneHotCategorical)
    if name != "variance" and (_is_binary(base) or _is_categorical(base) or onehot):
        reads, extra = (_binary, 1) if _is_binary(base) else (_classes, 0 if onehot else 1)
        return Measure("entropy", ((reads, extra),), EntropySums, lost=int(onehot))
    if name == "entropy" or not _has_moments(fn):
        return None
    spacing = spacing_of(base)
    return Measure("variance", ((_mean, 0), (_variance, 0)), functools.partial(MomentSums, spacing), spacing=spacing)


def _is_binary(base: Any) -> bool:
    return isinstance(base, torch.distributions.Bernoulli)


def _is_categorical(base: Any) -> bool:
    return isinstance(base, torch.distributions.Categorical)


def _has_moments(fn: Any) -> bool:
    if is_angle(fn):
        return False  # what torch calls its variance is one of a circle, between 0 and 1, and adds up with no other
    try:
        return not bool(fn.mean.isnan().all()) and not bool(fn.variance.isnan().all())
    except (NotImplementedError, AttributeError):
        return False


def _mean(fn: Any) -> Tensor:
    return _precise(fn, "mean")


def _variance(fn: Any) -> Tensor:
    return _precise(fn, "variance")


def _precise(fn: Any, name: str) -> Tensor:
    base = base_of(fn)
    if type(base).__name__ == "ContinuousBernoulli" and isinstance(base, torch.distributions.ContinuousBernoulli):
        # torch's formulas cancel around 1/2: in single precision variances come out as low as -1.6.
        exact = torch.distributions.ContinuousBernoulli(logits=base.logits.double(), validate_args=False)
        return getattr(exact, name).expand(fn.batch_shape + fn.event_shape)
    return getattr(fn, name).double()


def _binary(fn: Any) -> Tensor:
    # `fn.mean` has the whole shape, whatever wraps the distribution; `base.probs` may have less.
    return torch.stack([1 - fn.mean.double(), fn.mean.double()], -1)


def _classes(fn: Any) -> Tensor:
    return probabilities(fn).double()
