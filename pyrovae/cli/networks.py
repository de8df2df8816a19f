"""The networks of a pair made from its configuration, and what stands between them and the units of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv
from pyrovae.cli.annotation import Annotation
from pyrovae.models.each_input import EachInput
from pyrovae.models.nets import Chain


def _log(x: Tensor) -> Tensor:
    # Zeros stand for data where only the shape counts, see VAE.blank; no data that a log-normal takes are that small.
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()


# What data pass before networks see them, by name.
FUNCTIONS = {"identity": lambda x: x, "log": _log, "log1p": torch.log1p}


class Scaled(nn.Module):
    """A function of the data, less a centre, by a spread; in double precision where these are."""

    center: Tensor
    spread: Tensor
    kind: Tensor

    def __init__(self, function: str, center: Tensor, spread: Tensor):
        super().__init__()
        self.function = function
        self.takes_double = center.dtype == torch.float64
        self.register_buffer("center", center)
        self.register_buffer("spread", spread)
        self.register_buffer("kind", torch.zeros(()), persistent=False)  # the networks' type: it follows .double()

    def forward(self, x: Tensor) -> Tensor:
        """The scaled data, of the same shape."""
        scaled = (FUNCTIONS[self.function](x.to(self.center.dtype)) - self.center) / self.spread
        return scaled.to(self.kind.dtype)


class InUnits(pv.Conditional):
    r"""A family of location and scale, moved to the units of the raw data: \( m + c\mu,\ c\sigma \)."""

    def __init__(self, likelihood: Any, scaled: Scaled):
        super().__init__()
        self.likelihood, self.scaled = likelihood, scaled

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        family = self.likelihood(*given)
        base, center, spread = family.base_dist, self.scaled.center, self.scaled.spread
        loc, scale = center + spread * base.loc, spread * base.scale
        moved = dist.StudentT(base.df, loc, scale) if isinstance(base, dist.StudentT) else type(base)(loc, scale)
        return moved.to_event(len(family.event_shape))


class Shifted(nn.Module):
    """A network that gives the log of a mean, counted from the data's own level."""

    def __init__(self, network: Any, scaled: Scaled):
        super().__init__()
        self.network, self.scaled = network, scaled
        self.input_dims, self.output_shape = network.input_dims, network.output_shape

    def forward(self, *given: Tensor) -> Tensor:
        """The log of a mean."""
        level = self.network(*given)
        return self.scaled.center.to(level.dtype) + level


@dataclass(frozen=True)
class Networks:
    """Networks of one kind and size; those of a pair with labels or a condition see these as a second input."""

    net: str
    hidden: tuple[int, ...]
    latent: int
    shape: tuple[int, ...]
    scaled: Scaled
    annotation: Annotation | None

    def encoder(self, outputs: int) -> Any:
        """From data, and what goes with them, to `outputs` numbers."""
        if self.annotation is None:
            return self.of_data(outputs)
        network = self._encoder([self.shape, self.annotation.width], outputs)
        return EachInput(network, self.scaled, self._units())

    def of_data(self, outputs: int) -> Any:
        """An encoder that sees the data and no label or condition."""
        return Chain(self.scaled, self._encoder(self.shape, outputs))

    def _encoder(self, given: Any, outputs: int) -> Any:
        if self.net == "conv":
            return pv.ConvEncoder(given, outputs, channels=self.hidden)
        return pv.MLP(given, self.hidden, outputs)

    def decoder(self, count: int) -> Any:
        """A network that gives `count` numbers an element."""
        wide = (count * self.shape[0], *self.shape[1:])
        given: Any = self.latent if self.annotation is None else [self.latent, self.annotation.width]
        if self.net == "conv":
            network: Any = pv.ConvDecoder(given, wide, channels=self.hidden[::-1])
        else:
            network = pv.MLP(given, self.hidden[::-1], wide)
        return network if self.annotation is None else EachInput(network, None, self._units())

    def _units(self) -> nn.Module | None:
        return self.annotation.units() if self.annotation is not None and self.annotation.role == "condition" else None
