"""What calls `fit` many times: choices by held-out evidence, starts, curves over the weight, spreads over seeds."""

from pyrovae.studies.choosing import Choice, choose_latent
from pyrovae.studies.curves import Curve, rate_distortion_curve
from pyrovae.studies.spread import Spread, over_seeds
from pyrovae.studies.starts import fit_best
from pyrovae.studies.trials import Trial

__all__ = [
    "Choice",
    "Curve",
    "Spread",
    "Trial",
    "choose_latent",
    "fit_best",
    "over_seeds",
    "rate_distortion_curve",
]
