"""The optimiser of a training, for what the user gave."""

from __future__ import annotations

from typing import Any

from pyrovae.errors import ArgumentError
from pyrovae.objectives.aggressive import Aggressive
from pyrovae.training.optimisers import Optimiser, PyroOptimiser, TorchOptimiser, make_optimiser
from pyrovae.training.resting_optimiser import RestingOptimiser


def choose_optimiser(optim: Any, learning_rate: Any) -> Optimiser:
    """That of `make_optimiser`; under an `Aggressive` rate one whose model rests.

    Args:
        optim: of Pyro, or a function of the parameters; None for the default.
        learning_rate: a rate of any kind.
    """
    if not isinstance(learning_rate, Aggressive):
        return make_optimiser(optim, learning_rate)
    found = make_optimiser(optim, None if optim is not None else learning_rate.rate)
    if isinstance(found, PyroOptimiser):
        raise ArgumentError(
            "learning_rate is pv.Aggressive, and a pyro.optim optimiser holds its own rates: give a function of the "
            "parameters, optim=lambda parameters: torch.optim.AdamW(parameters), or none."
        )
    assert isinstance(found, TorchOptimiser)
    return RestingOptimiser(found.make, learning_rate)
