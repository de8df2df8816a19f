"""Figures of a pair on data: of each datum, and of the whole."""

from pyrovae.evaluation.rates import RateDistortion, measure, rate_distortion
from pyrovae.evaluation.units import ActiveUnits, active_in, active_units

__all__ = [
    "ActiveUnits",
    "RateDistortion",
    "active_in",
    "active_units",
    "measure",
    "rate_distortion",
]
