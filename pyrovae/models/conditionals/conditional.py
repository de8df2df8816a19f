"""What a conditional is, and the way from a network to parameters: shapes checked, scales bounded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError

# exp(10) = 2e4 and exp(-10) = 5e-5. A wild first step of a network can ask for exp(1000), which is infinite in
# float32, and one infinite term makes every weight NaN. Between these bounds the square of a residual of 1e10
# scales is still finite, and data in sensible units never need a scale outside.
LOWER, UPPER = -10.0, 10.0

Scale = float | nn.Module | None


class Conditional(nn.Module, ABC):
    r"""A module whose `forward(*given)` returns a Pyro distribution: \( p(\cdot \mid \text{given}) \).

    Its batch shape is the leading dims of `given`, its events are declared by `.to_event`. It holds parameters
    and buffers only, and draws nothing itself. Priors are conditionals of nothing: `forward()` has batch shape `()`.

    A network may be any module or function that keeps leading dims. How many event dims its first input has
    is its attribute `input_dims` (1 where it has none).

    Examples:
        >>> import pyro.distributions as dist, torch, pyrovae as pv
        >>> class Exponential(pv.Conditional):
        ...     def __init__(self, network):
        ...         super().__init__()
        ...         self.network = network
        ...     def forward(self, *given):
        ...         return dist.Exponential(torch.nn.functional.softplus(self.network(*given))).to_event(1)
        >>> Exponential(pv.MLP(2, [8], 3))(torch.zeros(5, 2)).event_shape
        torch.Size([3])
    """

    @abstractmethod
    def forward(self, *given: Tensor) -> Any:
        """The distribution given these."""


def bounded(raw: Tensor, lower: float = LOWER, upper: float = UPPER) -> Tensor:
    r"""A smooth bound, the identity near 0: \( \frac{2b}{\pi} \arctan \frac{\pi r}{2b} \), b the bound on r's side.

    Its derivative falls as \( r^{-2} \) and not exponentially, so a network that has gone far out still feels
    where back is, as it would not behind a clamp or a tanh; and torch computes it without cancellation.

    Examples:
        >>> bounded(torch.tensor([-1e4, 0.5, 1e4]))
        tensor([-9.9959,  0.4990,  9.9959])
    """
    bound = torch.where(raw < 0, -lower, upper).to(raw.dtype) * (2 / math.pi)
    return bound * torch.atan(raw / bound)


def bounded_rows(raw: Tensor, limit: float) -> Tensor:
    """Each row u becomes u / sqrt(1 + |u|^2 / limit^2): its direction stays, its length ends below the limit."""
    return raw * torch.rsqrt(1 + (raw / limit).square().sum(-1, keepdim=True))


class LearnedScale(nn.Module):
    r"""A positive scale that is a parameter of its own and depends on no input: \( s\, e^{\rho} \).

    Args:
        shape: `()` for one scale shared by all elements, or a shape that broadcasts to the event's.
        initial: The starting scale s, in the units of the data; ρ starts at 0 and is bounded by ±10.

    Returns of `forward()`: the scale, of the given shape.

    Examples:
        >>> import pyrovae as pv
        >>> pv.LearnedScale((2,), initial=0.5)()
        tensor([0.5000, 0.5000], grad_fn=<MulBackward0>)
    """

    def __init__(self, shape: int | tuple[int, ...] = (), *, initial: float = 1.0):
        super().__init__()
        self.initial = check_scale(float(initial), "LearnedScale", "initial")
        self.log_ratio = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        """The scale, of the shape given."""
        return self.initial * bounded(self.log_ratio).exp()


def check_network(network: Any, owner: str, count: int | Callable[..., Any]) -> Any:
    """The network, or an error in words where something else was put in its place or its size is wrong.

    The size is looked at where the network declares its `output_shape`: by `count` numbers per element, or
    by a function of event shape and owner.
    """
    if isinstance(network, Tensor | np.ndarray):
        raise ArgumentError(
            f"pv.{owner} takes a network, got a {type(network).__name__}: pyro.distributions takes parameters, "
            f"pv.{owner} takes the network that gives them, such as pv.{owner}(pv.MLP(8, [256], ...)) "
            "(for constants see pv.StandardNormal and pv.LearnedNormal)"
        )
    if isinstance(network, type) or not callable(network):
        raise ArgumentError(f"pv.{owner} takes a network (an object of a torch.nn.Module), got {network!r}")
    declared = getattr(network, "output_shape", None)
    if declared is not None:
        count(declared, owner) if callable(count) else _check_count(declared, count, owner)
    return network


def _check_count(event: tuple[int, ...], count: int, owner: str) -> None:
    if count > 1 and (not event or event[0] % count):
        raise ArgumentError(
            f"pv.{owner} takes {count} numbers per element, so the first event dim of its network's output must be "
            f"{count} times the event's, such as {count} * 8 for an event of 8; it is {tuple(event)}"
        )


def check_scale(scale: Any, owner: str, name: str = "scale") -> Any:
    """None, a positive float or a module that gives a scale; an error in words for anything else."""
    if scale is None or isinstance(scale, nn.Module):
        return scale
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise ArgumentError(
            f"pv.{owner}: {name}={scale!r}: give None (the network gives it), a positive number (fixed), "
            "or pv.LearnedScale(shape)"
        )
    return float(scale)


def network_output(network: Callable[..., Any], given: tuple[Tensor, ...], owner: str) -> tuple[Tensor, int]:
    """What the network gives, `(*leading, *event)`, and how many event dims that has."""
    output = network(*given)
    declared = getattr(network, "output_shape", None)
    if declared is not None:
        return output, len(declared)
    if not isinstance(output, Tensor):
        raise ArgumentError(f"pv.{owner}: its network gave {type(output).__name__}, not a tensor")
    input_dims = getattr(network, "input_dims", 1)
    leading = given[0].shape[: max(0, given[0].dim() - input_dims)] if given else torch.Size()
    if output.shape[: len(leading)] != leading:
        raise ArgumentError(
            f"pv.{owner}: its network made {tuple(output.shape)} of an input of shape {tuple(given[0].shape)}: the "
            f"leading dims {tuple(leading)} are lost. A network must keep them; one whose input has other than one "
            "event dim says so by an attribute, such as network.input_dims = 3"
        )
    return output, output.dim() - len(leading)


def chunks(network: Any, given: tuple[Tensor, ...], count: int, owner: str) -> tuple[tuple[Tensor, ...], int]:
    """The `count` parameters of each element, cut along the first event dim, and the event dims."""
    output, dims = network_output(network, given, owner)
    if count == 1:
        return (output,), dims
    _check_count(output.shape[output.dim() - dims :], count, owner)
    return output.chunk(count, output.dim() - dims), dims


def loc_and_scale(
    family: Any, given: tuple[Tensor, ...], lower: float = LOWER, upper: float = UPPER
) -> tuple[Tensor, Tensor, int]:
    """The location, the scale and the event dims of a family with `network` and `scale`."""
    owner = type(family).__name__
    (loc, *raw), dims = chunks(family.network, given, 1 + (family.scale is None), owner)
    if raw:
        return loc, bounded(raw[0], lower, upper).exp(), dims
    return loc, scale_of(family.scale, loc, dims, owner), dims


def scale_of(scale: float | nn.Module, loc: Tensor, dims: int, owner: str) -> Tensor:
    """A scale that is fixed, or comes from a module of its own."""
    if not isinstance(scale, nn.Module):
        return torch.full_like(loc, scale)
    value, event = scale(), loc.shape[loc.dim() - dims :]
    try:
        sound = torch.broadcast_shapes(value.shape, event) == event
    except RuntimeError:
        sound = False
    if not sound:
        raise ArgumentError(
            f"pv.{owner}: a scale of shape {tuple(value.shape)} does not fit an event of shape {tuple(event)}"
        )
    return value
