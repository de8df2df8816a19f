"""Figures of a pair on data: of each datum, and of the whole."""

from pyrovae.evaluation.annealing import Ais, ais
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import Psis, elbo, log_evidence, psis
from pyrovae.evaluation.gaps import InferenceGap, inference_gap
from pyrovae.evaluation.information import Information, mutual_information
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
    "Ais",
    "Classified",
    "Discrepancy",
    "Estimate",
    "InferenceGap",
    "Information",
    "Neighbourhoods",
    "Probe",
    "Psis",
    "RateDistortion",
    "Resemblance",
    "active_in",
    "active_units",
    "ais",
    "compare",
    "elbo",
    "inference_gap",
    "linear_probe",
    "log_evidence",
    "measure",
    "mutual_information",
    "psis",
    "rate_distortion",
    "resemblance",
]
