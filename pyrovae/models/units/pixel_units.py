"""Images in the levels that they have, and networks of the unit interval."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.errors import DataError
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.conditionals.discrete import DiscretizedLogistic
from pyrovae.models.conditionals.distributions import DiscretizedLogisticLevels


class PixelUnits(nn.Module):
    """Images divided by their highest level, 255 or 1, which the first image that is not black decides."""

    highest: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("highest", torch.zeros(()))  # 0: not decided yet

    def check_data(self, x: Tensor) -> None:
        """Refuse what is no raw image, where the data come in; nothing is left to look at in bytes of known unit."""
        if self.highest != 255 or x.dtype != torch.uint8:
            lowest, highest = map(float, torch.aminmax(x))
            if not math.isnan(lowest):  # holes are another matter
                self._check_levels(lowest, highest)

    def forward(self, x: Tensor) -> Tensor:
        """The images in their unit."""
        # In eval mode too: a unit tells nothing about the data but how they are written.
        if not self.highest and x.any():
            self._decide(float(x.min()), float(x.max()))
        return x.to(self.highest.dtype) / self.known()

    def known(self) -> Tensor:
        """The highest level; 1 while there was no image."""
        return torch.where(self.highest > 0, self.highest, 1.0)

    def _decide(self, lowest: float, highest: float) -> None:
        self._check_levels(lowest, highest)
        self.highest.fill_(255.0 if highest > 1 else 1.0)

    def _check_levels(self, lowest: float, highest: float) -> None:
        if not (lowest >= 0 and highest <= 255):
            raise DataError(
                f"image_vae takes raw images, levels 0 to 255 or the same divided by 255; these reach from {lowest:g} "
                f"to {highest:g}: undo their normalisation, or build a pv.VAE with another likelihood"
            )
        if highest > self.highest > 0:
            raise DataError(
                f"the first images that this image_vae met had levels up to {float(self.highest):g}, these have up to "
                f"{highest:g}: give all of them in the unit of the first"
            )


class InPixelUnits(Conditional):
    """A discretised logistic in the units of the data."""

    def __init__(self, likelihood: DiscretizedLogistic, units: PixelUnits):
        super().__init__()
        self.likelihood, self.units = likelihood, units

    def forward(self, *given: Tensor) -> Any:
        """The levels in the unit of the images."""
        pixels = self.likelihood(*given)
        base = pixels.base_dist
        levels = DiscretizedLogisticLevels(base.loc, base.scale, base.levels, self.units.known())
        return levels.to_event(len(pixels.event_shape))
