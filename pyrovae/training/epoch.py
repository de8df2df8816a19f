"""One epoch of a training: a row of its history."""

from __future__ import annotations

from typing import NamedTuple

Weight = float | dict[str, float]


class Epoch(NamedTuple):
    """The averages over the data of one epoch, and the figures of the validation data after it.

    `elbo = -(rate + distortion)` in nats per datum, without temper; `loss` is the objective that was
    minimised, weights included, per datum.

    `validation_bound` is that of the objective, without temper, of which `patience` is: the ELBO, and under `IWAE`,
    `DReG` and `RenyiELBO` the bound of their several draws.

    A guide at a point (AutoDelta) has no density: there `rate` is no rate but minus the log of the prior at the
    point, and `elbo` the log of the joint one. `rate_distortion` refuses such a pair. Nor is `elbo` a bound where the
    guide draws what the model has nothing to set against: `Fit.no_elbo` says so.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> row = pv.fit(vae, torch.randn(64, 5), epochs=2, seed=0, progress=False).history[-1]
        >>> row.epoch, abs(row.elbo + row.rate + row.distortion) < 1e-5
        (2, True)
    """

    epoch: int
    step: int
    loss: float
    elbo: float
    rate: float
    distortion: float
    weight: Weight
    learning_rate: float
    validation_elbo: float | None
    validation_rate: float | None
    validation_distortion: float | None
    validation_bound: float | None
    seconds: float
