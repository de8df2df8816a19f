"""What a trained pair says: draws of its sites, predictions, generated data, encodings."""

from pyrovae.prediction.draws import log_likelihood, posterior, posterior_predictive, prior, prior_predictive
from pyrovae.prediction.encodings import Encoding, encode, encodings
from pyrovae.prediction.generation import generate, reconstruct
from pyrovae.prediction.reductions import Moments, Summary
from pyrovae.prediction.variations import variations

__all__ = [
    "Encoding",
    "Moments",
    "Summary",
    "encode",
    "encodings",
    "generate",
    "log_likelihood",
    "posterior",
    "posterior_predictive",
    "prior",
    "prior_predictive",
    "reconstruct",
    "variations",
]
