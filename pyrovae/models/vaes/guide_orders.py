"""In which order the guide of a hierarchical VAE draws its levels, and from what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.pairs.base_of import base_of

Draw = Callable[[int, Any], Tensor]
Above = Callable[[int, tuple[Tensor, ...]], Any]


class BottomUp(nn.Module):
    r"""A guide that goes from the data up: \( q(z_1 \mid x)\, q(z_2 \mid z_1) \cdots q(z_L \mid z_{L-1}) \).

    Take it where the model is near to linear: the posterior of a chain has this form, and needs no networks of its
    own for what x says of the upper levels. The noise of the lower ones is in all that the upper ones see.

    Args:
        parts: The conditionals, from the data up.

    Examples:
        >>> import pyrovae as pv
        >>> guide = pv.BottomUp([pv.DiagNormal(pv.MLP(9, [16], 2 * 4)), pv.DiagNormal(pv.MLP(4, [16], 2 * 2))])
    """

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = _modules(parts, "BottomUp")

    def forward(self, x: Tensor, draw: Draw, above: Above) -> tuple[Tensor, ...]:
        """(z_1, …, z_L), each drawn by `draw(level, distribution)`."""
        drawn: list[Tensor] = []
        for level, part in enumerate(self.parts, 1):
            drawn.append(draw(level, part(drawn[-1] if drawn else x)))
        return tuple(drawn)


class TopDown(nn.Module):
    r"""A guide that goes from the top down, as the model does: \( q(z_L \mid x) \prod_{l<L} q(z_l \mid x, z_{l+1}) \).

    Take it for two levels, with a VampPrior at the top (`top` is the posterior that it takes).

    Args:
        parts: The conditionals, from the data up: all but the last, which takes x alone, take x and the level above.

    Examples:
        >>> import pyrovae as pv
        >>> guide = pv.TopDown([pv.DiagNormal(pv.MLP([9, 2], [16], 2 * 4)), pv.DiagNormal(pv.MLP(9, [16], 2 * 2))])
    """

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = _modules(parts, "TopDown")

    @property
    def top(self) -> nn.Module:
        """q(z_L | x), a conditional."""
        return self.parts[-1]

    def forward(self, x: Tensor, draw: Draw, above: Above) -> tuple[Tensor, ...]:
        """(z_1, …, z_L), each drawn by `draw(level, distribution)`."""
        drawn: tuple[Tensor, ...] = ()
        for level in range(len(self.parts), 0, -1):
            drawn = (draw(level, self.parts[level - 1](x, *drawn[:1])), *drawn)
        return drawn


class Ladder(nn.Module):
    r"""A ladder: up without noise, \( h_l = e_l(h_{l-1}) \) from \( h_0 = x \), then down with the model.

    \[ q(z_L \mid x) = \mathcal N(\hat\mu_L, \hat\sigma_L^2), \qquad q(z_l \mid x, z_{>l}) \propto
    \mathcal N(z_l; \hat\mu_l, \hat\sigma_l^2)\; p(z_l \mid z_{>l}), \qquad (\hat\mu_l, \hat\sigma_l) = g_l(h_l) \]

    Each level weighs what the data say against what the model says, by their precisions. Take it for three levels and
    more: with the other orders the upper ones fall silent.

    Args:
        encoders: Networks \( e_1, \dots, e_L \), from the data up.
        heads: `DiagNormal`s \( g_1, \dots, g_L \) of what these give. The model's levels are diagonal normals as well.

    References:
        Sønderby et al., Ladder variational autoencoders, 2016.

    Examples:
        >>> import pyrovae as pv
        >>> nets = [pv.MLP(9, [16], 16), pv.MLP(16, [16], 16)]
        >>> guide = pv.Ladder(nets, [pv.DiagNormal(pv.MLP(16, [], 2 * 4)), pv.DiagNormal(pv.MLP(16, [], 2 * 2))])
    """

    def __init__(self, encoders: Sequence[nn.Module], heads: Sequence[nn.Module]):
        super().__init__()
        self.encoders, self.parts = _modules(encoders, "Ladder"), _modules(heads, "Ladder")
        if len(self.encoders) != len(self.parts):
            raise ArgumentError(
                f"pv.Ladder: {len(self.encoders)} encoders and {len(self.parts)} heads: give one of each a level."
            )

    @property
    def top(self) -> nn.Module:
        """q(z_L | x), a conditional."""
        return LadderTop(self.encoders, self.parts[-1])

    def forward(self, x: Tensor, draw: Draw, above: Above) -> tuple[Tensor, ...]:
        """(z_1, …, z_L), each drawn by `draw(level, distribution)`."""
        seen = []
        for encoder, head in zip(self.encoders, self.parts, strict=True):
            x = encoder(x)
            seen.append(head(x))
        drawn = (draw(len(seen), seen[-1]),)
        for level in range(len(seen) - 1, 0, -1):
            drawn = (draw(level, _together(seen[level - 1], above(level, drawn), level)), *drawn)
        return drawn


class LadderTop(Conditional):
    """The way up of a ladder, and the head at its top."""

    def __init__(self, encoders: nn.ModuleList, head: nn.Module):
        super().__init__()
        self.encoders, self.head = encoders, head

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`."""
        (x,) = given
        for encoder in self.encoders:
            x = encoder(x)
        return self.head(x)


def _together(seen: Any, told: Any, level: int) -> Any:
    """The product of two normals."""
    one, other = base_of(seen), base_of(told)
    if not (isinstance(one, dist.Normal) and isinstance(other, dist.Normal)) or seen.event_shape != told.event_shape:
        raise ArgumentError(
            f"pv.Ladder: at level {level} its head gives {type(one).__name__} of event shape "
            f"{tuple(seen.event_shape)}, the model {type(other).__name__} of {tuple(told.event_shape)}: precisions are "
            "weighed of diagonal normals of one shape, such as pv.DiagNormal on both sides."
        )
    first, second = one.scale.pow(-2), other.scale.pow(-2)
    loc = (one.loc * first + other.loc * second) / (first + second)
    return dist.Normal(loc, (first + second).rsqrt()).to_event(len(seen.event_shape))


def _modules(parts: Any, owner: str) -> nn.ModuleList:
    if isinstance(parts, Tensor | nn.Module) and not isinstance(parts, nn.ModuleList):
        parts = []
    chosen = list(parts)
    if not chosen or not all(isinstance(part, nn.Module) for part in chosen):
        raise ArgumentError(f"pv.{owner} takes lists of modules, one for each level, from the data up.")
    return nn.ModuleList(chosen)
