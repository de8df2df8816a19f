"""Distributions that can be drawn from and have no density: noise through a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.trace import Traces, samples


class ImplicitDraws(TorchDistribution):
    """Draws `function(noise)`, noise standard normal; the density of such a draw is not known, and is NaN.

    Args:
        function: from noise (*leading, *batch, noise) to values (*leading, *batch, *event).
        noise: how many numbers of it a draw takes.
        batch_shape: of the draws.
        event_shape: of a draw.
        like: a tensor of the type and device of the noise.
    """

    has_rsample = True
    has_density = False
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        noise: int,
        batch_shape: torch.Size,
        event_shape: torch.Size,
        like: torch.Tensor,
    ):
        self.function, self.noise, self.like = function, noise, like
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """All numbers."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> ImplicitDraws:
        """The same with more batch dims: each place has noise of its own."""
        return ImplicitDraws(self.function, self.noise, torch.Size(batch_shape), self.event_shape, self.like)

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draws that gradients flow through."""
        shape = (*sample_shape, *self.batch_shape)
        noise = torch.randn(*shape, self.noise, dtype=self.like.dtype, device=self.like.device)
        return self.function(noise).expand(*shape, *self.event_shape)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """NaN: nobody knows."""
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[: value.ndim - len(self.event_shape)])
        return torch.full(shape, torch.nan, dtype=value.dtype, device=value.device)


def has_density(fn: Any) -> bool:
    """Whether a distribution has a log-probability, whatever was put around it."""
    return getattr(base_of(fn), "has_density", True)


def sites_without_density(run: Traces) -> list[str]:
    """Sites of guide or model whose draws have no density."""
    return list(dict.fromkeys(name for trace in run for name, node in samples(trace) if not has_density(node["fn"])))


def no_density_words(name: str) -> str:
    """Why there is no figure, and what there is instead."""
    return (
        f"{name!r} is drawn by noise through a network (pv.Implicit), and such a draw has no density: there is no "
        "rate, no ELBO and no importance weight, and what a discriminator says in its place is none. Where the guide "
        "alone is so, ais(..., start='prior') gives the evidence under the model's own densities; predictions and "
        "encode stand. For the rest, train a guide with a density (DiagNormal) for the model as it is."
    )


def loose_words(name: str) -> str:
    """What a training lacks where nothing stands in place of the density."""
    return (
        f"{name!r} is drawn by noise through a network (pv.Implicit), whose density, and so its KL, is not known. Put "
        f"a discriminator in its place: pv.adversarial(pair, network, sites=[{name!r}])."
    )
