"""Which objective is right for which pair, and the multi-sample ones that Pyro lacks or gets wrong.

`IWAE(k)` and `DReG(k)` are `pyro.infer.ELBO`s: give them to `fit(loss=...)` or to `pyro.infer.SVI`.
"""

from pyrovae.objectives.losses import (
    Loss,
    check_objective,
    loss_alone,
    loss_and_gradients,
    own_loss,
    try_once,
)
from pyrovae.objectives.multisample import IWAE, DReG

__all__ = [
    "IWAE",
    "DReG",
    "Loss",
    "check_objective",
    "loss_alone",
    "loss_and_gradients",
    "own_loss",
    "try_once",
]
