"""How far a pair can be trusted: calibration of what it predicts, data that are new to it, and when to abstain."""

from pyrovae.trust.abstention import Handover, Selective, selective
from pyrovae.trust.conformal import Surprise
from pyrovae.trust.coverage import Calibration, calibration, calibrations
from pyrovae.trust.novel import Novelty, novelty
from pyrovae.trust.ranks import Ranks
from pyrovae.trust.reliability import Reliability
from pyrovae.trust.simulation import SimulationBased, simulation_based_calibration

__all__ = [
    "Calibration",
    "Handover",
    "Novelty",
    "Ranks",
    "Reliability",
    "Selective",
    "SimulationBased",
    "Surprise",
    "calibration",
    "calibrations",
    "novelty",
    "selective",
    "simulation_based_calibration",
]
