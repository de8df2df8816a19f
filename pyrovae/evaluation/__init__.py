"""Figures of a pair on data: of each datum, and of the whole."""

from pyrovae.evaluation.probing import Probe, linear_probe
from pyrovae.evaluation.rates import RateDistortion, measure, rate_distortion
from pyrovae.evaluation.resemblance import (
    Classified,
    Discrepancy,
    Neighbourhoods,
    Resemblance,
    compare,
    resemblance,
)
from pyrovae.evaluation.units import ActiveUnits, active_in, active_units

__all__ = [
    "ActiveUnits",
    "Classified",
    "Discrepancy",
    "Neighbourhoods",
    "Probe",
    "RateDistortion",
    "Resemblance",
    "active_in",
    "active_units",
    "compare",
    "linear_probe",
    "measure",
    "rate_distortion",
    "resemblance",
]
