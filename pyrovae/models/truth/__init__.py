"""Small models whose evidence and posterior are known exactly: what every estimator is held against."""

from pyrovae.models.truth.beta_bernoulli import BetaBernoulli
from pyrovae.models.truth.discrete_mixture import DiscreteMixture
from pyrovae.models.truth.gamma_poisson import GammaPoisson
from pyrovae.models.truth.linear_gaussian import LinearGaussian
from pyrovae.models.truth.linear_state_space import LinearStateSpace
from pyrovae.models.truth.shifted_gaussian import ShiftedGaussian

__all__ = [
    "BetaBernoulli",
    "DiscreteMixture",
    "GammaPoisson",
    "LinearGaussian",
    "LinearStateSpace",
    "ShiftedGaussian",
]
