"""Modules whose `forward` returns a distribution: nets are arguments, shapes follow one rule.

The rule: a family that takes k numbers per element wants a network whose output's *first* event dim is k
times the event's, (2 * 8) for `DiagNormal` on 8 dims, (2 * 3, 32, 32) for `Normal` on 3 x 32 x 32 images. The
batch shape of the distribution is the leading dims of the input, the rest is event.
"""

from __future__ import annotations

from .base import Conditional, LearnedScale
from .continuous import Beta, ContinuousBernoulli, Laplace, LogNormal, Normal, StudentT
from .discrete import Bernoulli, Categorical, DiscretizedLogistic, NegativeBinomial, Poisson
from .normals import DiagNormal, FullNormal, LowRankNormal

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
