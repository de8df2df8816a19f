"""Distributions that can be drawn from and have no density: noise through a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.points import is_delta, is_deterministic
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


class WithoutDensity(TorchDistribution):
    """A distribution of which draws alone count: as it was, but for its density, which is asked of nobody.

    Args:
        fn: what it was.
    """

    has_density = False
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it

    def __init__(self, fn: Any):
        self.fn = fn
        super().__init__(fn.batch_shape, fn.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """As it was."""
        return self.fn.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> WithoutDensity:
        """The same with more batch dims."""
        return WithoutDensity(self.fn.expand(torch.Size(batch_shape)))

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        """As it was."""
        return self.fn.sample(torch.Size(sample_shape))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """NaN: nobody asks."""
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[: value.ndim - len(self.event_shape)])
        return torch.full(shape, torch.nan, dtype=torch.get_default_dtype(), device=value.device)


def has_density(fn: Any) -> bool:
    """Whether a distribution has a log-probability, whatever was put around it."""
    return getattr(base_of(fn), "has_density", True)


def sites_without_density(run: Traces) -> dict[str, str]:
    """Sites of guide or model whose draws, or whose data, have no density, each with why, and what there is instead."""
    observed = {name: why for name, node in samples(run.model) if (why := _without_likelihood(name, node))}
    drawn = (name for trace in run for name, node in samples(trace) if not has_density(node["fn"]))
    return {**{name: _no_density_words(name) for name in drawn}, **observed}


def _without_likelihood(name: str, node: Mapping[str, Any]) -> str:
    """Why data have no density at an observed site of the model; empty where they have one."""
    if not node["is_observed"] or is_deterministic(node):
        return ""
    if not has_density(node["fn"]):
        why = "comes of noise through a network (pv.Implicit)"
    elif _misses(node):
        why = "stands at a point (Delta)"
    else:
        return ""
    return (
        f"what the model draws at {name!r} {why}, so that data have no density there: there is no likelihood, no ELBO, "
        "no evidence and no importance weight. Draws stand (generate, prior_predictive), and pv.discriminator says how "
        "far they are told from data."
    )


def _misses(node: Mapping[str, Any]) -> bool:
    """Whether continuous data lie elsewhere than at the point where a Delta stands."""
    value = node["value"]
    if not (is_delta(node["fn"]) and isinstance(value, torch.Tensor) and value.is_floating_point()):
        return False
    return bool((node["fn"].log_prob(value) == -torch.inf).any())


def _no_density_words(name: str) -> str:
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
