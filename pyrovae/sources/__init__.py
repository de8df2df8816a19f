"""Sources of epistemic uncertainty: pairs around a pair, whose guide has a global site that its weights depend on."""

from .bayesian import bayesian
from .carried import CarriedOver
from .dropout import Dropped
from .laws import Gaussian, Members, Path
from .uncertain import Uncertain, free_name
from .weights import Weights

__all__ = ["CarriedOver", "Dropped", "Gaussian", "Members", "Path", "Uncertain", "Weights", "bayesian", "free_name"]
