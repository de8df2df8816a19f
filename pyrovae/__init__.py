"""Variational autoencoders as probabilistic programs, and tools for any Pyro model/guide pair.

Names are looked up on first use, so that `import pyrovae` imports neither torch nor pyro.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Each public name once, under the module where it lives.
_HOMES: dict[str, tuple[str, ...]] = {
    "pairs": ("HasPair", "Pair"),
    "nets": ("MLP", "ConvDecoder", "ConvEncoder"),
    "conditionals": (
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
    ),
    "priors": ("LearnedNormal", "Mixture", "StandardNormal", "VampPrior"),
    "vae": ("VAE",),
    "schedules": ("TargetRate", "constant", "cosine", "cyclic", "linear", "sigmoid"),
    "handlers": ("free_bits", "record", "temper"),
    "contracts": ("Finding", "check_pair"),
    "prediction": (
        "Encoding",
        "Moments",
        "Summary",
        "encode",
        "generate",
        "log_likelihood",
        "posterior",
        "posterior_predictive",
        "prior",
        "prior_predictive",
        "reconstruct",
        "variations",
    ),
    "evaluation": (
        "Ais",
        "Estimate",
        "InferenceGap",
        "Psis",
        "active_units",
        "ais",
        "elbo",
        "inference_gap",
        "linear_probe",
        "mutual_information",
        "log_evidence",
        "psis",
        "rate_distortion",
        "resemblance",
    ),
    "decomposition": ("Generated", "Uncertainty", "generate_with_uncertainty", "uncertainty"),
    "trust": (
        "Calibration",
        "Handover",
        "Novelty",
        "Ranks",
        "Reliability",
        "Selective",
        "SimulationBased",
        "Surprise",
        "calibration",
        "novelty",
        "selective",
        "simulation_based_calibration",
    ),
    "epistemic": ("update",),
    "checkpoints": ("load", "save"),
    "export": ("to_arviz",),
    "nuts": ("Agreement", "check_guide"),
    "training": ("Epoch", "Fit", "Step", "fit", "steps"),
    "studies": ("choose_latent", "fit_best", "over_seeds", "rate_distortion_curve"),
    "errors": (
        "ArgumentError",
        "DataError",
        "DivergedError",
        "ParallelError",
        "FileError",
        "PairError",
        "PyrovaeError",
        "PyrovaeWarning",
    ),
}
# Modules that are used by their own name: pv.recipes.image_vae, pv.truth.LinearGaussian, ...
_MODULES = ("datasets", "epistemic", "objectives", "recipes", "testing", "truth")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
