"""The distribution of a chain of latents, each a normal around what a network makes of the one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints

from pyrovae.errors import ArgumentError
from pyrovae.models.vaes.vae import as_distribution


class Message(NamedTuple):
    """What data say of each step by itself: a normal of this place and precision, 0 where they say nothing."""

    loc: Tensor
    precision: Tensor


class MarkovNormal(TorchDistribution):
    r"""A chain \( z_1 \sim p_1, \ z_t \sim p(z_t \mid z_{t-1}) \) of diagonal normals, weighed by messages.

    \[ q(z) = \prod_t q(z_t \mid z_{t-1}), \qquad q(z_t \mid z_{t-1}) \propto p(z_t \mid z_{t-1})\,
    \mathcal N(z_t; \mu_t, \lambda_t^{-1}) \]

    Where λ is 0, a step of q is that of p, to the bit. Draws go from step to step, each with noise of its own, so that
    what follows changes nothing before it; the density is computed of all steps at once. Whoever knows what was drawn
    calls `settle` while the networks are what they are: a trace asks for densities later, when their weights may be
    others.

    Args:
        first: \( p_1 \), of batch shape `()`.
        follow: gives \( p(z_t \mid z_{t-1}) \) of any batch of \( z_{t-1} \).
        counted: which steps count, (*batch, steps). The others are drawn, and are no part of the density.
        message: μ and λ, (*batch, steps, k); left out, there are none and q is p.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it
    support = constraints.independent(constraints.real, 2)  # type: ignore[assignment]  # torch declares a property
    has_rsample = True

    def __init__(
        self,
        first: Any,
        follow: Callable[[Tensor], Any],
        counted: Tensor,
        message: Message | None = None,
    ):
        self.first, self.follow, self.counted, self.message = first, follow, counted, message
        self._start = loc_and_scale_of(first, "prior")
        self._settled: list[Any] = [None, None]  # a value, and place and scale of its steps; shared with expansions
        super().__init__(counted.shape[:-1], torch.Size([counted.shape[-1], len(self._start[0])]), validate_args=False)

    @property
    def seen_elements(self) -> Tensor:
        """Which elements count, as masks say it."""
        return self.counted.unsqueeze(-1).expand(self.shape())

    def expand(self, batch_shape: Any, _instance: Any = None) -> MarkovNormal:
        """The same for a larger batch."""
        counted = self.counted.expand((*batch_shape, self.counted.shape[-1]))
        new = MarkovNormal(self.first, self.follow, counted, self.message)
        new._settled = self._settled
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of all steps, (*sample_shape, *batch, steps, k)."""
        (loc, scale), steps = self._start, []
        shape = (*sample_shape, *self.batch_shape, len(loc))
        for t in range(self.event_shape[0]):
            if t:
                loc, scale = loc_and_scale_of(self.follow(steps[-1][0]), "transition")
            loc, scale = self._weighed(loc, scale, slice(t, t + 1))
            drawn = loc + scale * torch.randn(shape, dtype=loc.dtype, device=loc.device)
            steps.append((drawn, loc.expand_as(drawn), scale.expand_as(drawn)))
        value, loc, scale = (torch.stack(part, -2) for part in zip(*steps, strict=True))
        self._settled[:] = value, (loc, scale)
        return value

    def settle(self, value: Tensor) -> None:
        """Ask the networks now for what the density of this value needs."""
        if self._settled[0] is not value:
            self._settled[:] = value, self._steps_of(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of the steps that count."""
        known, steps = self._settled
        loc, scale = steps if known is value else self._steps_of(value)
        terms = Normal(loc, scale, validate_args=False).log_prob(value).sum(-1)
        return torch.where(self.counted, terms, 0.0).sum(-1)

    def _steps_of(self, value: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = (part.expand((*value.shape[:-2], 1, -1)) for part in self._start)
        if value.shape[-2] > 1:
            later = loc_and_scale_of(self.follow(value[..., :-1, :]), "transition")
            loc, scale = (torch.cat(parts, -2) for parts in zip((loc, scale), later, strict=True))
        return self._weighed(loc, scale, slice(None))

    def _weighed(self, loc: Tensor, scale: Tensor, steps: slice) -> tuple[Tensor, Tensor]:
        """What the chain and the messages say together, by their precisions."""
        if self.message is None:
            return loc, scale
        said, precision = (part[..., steps, :] for part in self.message)
        if steps != slice(None):
            said, precision = said.squeeze(-2), precision.squeeze(-2)
        share = precision * scale.square()
        return loc + share / (1 + share) * (said - loc), scale * torch.rsqrt(1 + share)


def loc_and_scale_of(fn: Any, name: str) -> tuple[Tensor, Tensor]:
    """Place and scale of a diagonal normal, or an error in words for anything else."""
    base = getattr(as_distribution(fn, name), "base_dist", None)
    if not isinstance(base, Normal) or len(fn.event_shape) != 1:
        raise ArgumentError(
            f"the {name} of a series' latents gave a {type(base or fn).__name__}: give a diagonal normal of a "
            f"vector, such as pv.DiagNormal(network){' or pv.LearnedNormal(8)' if name == 'prior' else ''}"
        )
    return base.loc, base.scale
