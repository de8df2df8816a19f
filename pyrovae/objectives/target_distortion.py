"""A weight of the rate that is steered by the distortion: training to a quality of reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyrovae.errors import ArgumentError
from pyrovae.objectives.target_rate import SteeredWeight


@dataclass(frozen=True)
class TargetDistortion(SteeredWeight):
    r"""A weight of the rate that is steered until the distortion is a number of nats: GECO.

    The least rate whose distortion is `nats` at most has the Lagrangian `rate + lambda (distortion - nats)`; its
    gradient, divided by lambda, is that of `beta rate + distortion` with `beta = 1 / lambda`. It is steered by
    `log beta <- clip(log beta - gain * clip((distortion - nats) / max(|nats|, 1), -1, 1))`: the weight falls while
    the distortion exceeds the target and rises below it. Where the paper averages the constraint over steps, the
    small gain does. A target that no weight reaches leaves the weight at a bound, which the history shows.

    Args:
        nats: the target of the distortion, -log p(x | z), in nats per datum; of a density it may be negative.
        gain: how far log beta moves in one step at most.
        minimum: of the weight.
        maximum: of the weight.

    References:
        Rezende and Viola, "Taming VAEs" (2018).

    Examples:
        >>> import pyrovae as pv
        >>> target = pv.TargetDistortion(90.0)
        >>> beta = target.weight(target.observe(rate=20.0, distortion=135.0, state=target.initial()))
        >>> round(beta, 4)
        0.995
    """

    def error(self, rate: float, distortion: float) -> float:
        """How far the distortion stays below the target, in parts of it."""
        if math.isnan(distortion):
            raise ArgumentError(f"TargetDistortion: the distortion is {distortion}; a weight cannot be steered by it")
        return (self.nats - distortion) / max(abs(self.nats), 1.0)
