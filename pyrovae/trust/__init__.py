"""How far a pair can be trusted: calibration of what it predicts, data that are new to it, and when to abstain."""

from pyrovae.trust.coverage import Calibration, calibration, calibrations
from pyrovae.trust.ranks import Ranks
from pyrovae.trust.reliability import Reliability
from pyrovae.trust.simulation import SimulationBased, simulation_based_calibration

__all__ = [
    "Calibration",
    "Ranks",
    "Reliability",
    "SimulationBased",
    "calibration",
    "calibrations",
    "simulation_based_calibration",
]
