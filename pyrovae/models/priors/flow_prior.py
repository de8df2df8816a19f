"""A prior by normalizing flows: Pyro's transforms, or a flow of zuko, as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import transforms
from pyro.nn import AutoRegressiveNN, DenseNN
from torch import Tensor, nn
from torch.distributions import Transform

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.autoregressive_step import AutoregressiveStep, CalmNetwork, calm, network_of_pyro
from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.models.nets import Event
from pyrovae.models.priors.foreign_flow import ForeignFlow
from pyrovae.models.priors.held_transform import Flow, HeldTransform, forget, parts_of
from pyrovae.models.priors.normal_priors import StandardNormal
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import check_count

_BINS, _BOUND = 8, 5.0  # of splines; codes of a standard normal lie within 5
_SLOPE_ONE = math.log(math.e - 1)  # softplus of this is 1


class FlowPrior(Conditional):
    r"""A simple prior bent by invertible maps: \( z = (T_L \circ \dots \circ T_1)(\epsilon),\ \epsilon \sim p_0 \).

    \[ \log p(z) = \log p_0(\epsilon) - \sum_l \log \big| \det \partial T_l \big| \]

    Take it where codes have a shape that no round cloud has, and there are data enough to learn it: a flow is the
    strongest prior here, and the quickest to learn its training data by heart.

    Args:
        flow: Transforms of `pyro.distributions.transforms`, from ε to z, `t.inv` of one too; or a flow of zuko.
        base: With transforms, \( p_0 \): an event shape, which stands for the standard normal, or a prior.

    `FlowPrior.coupling(8)`, `.autoregressive(8)` and `.spline(8)` build the transforms. Parameters and constants (a
    permutation) of the transforms are its own: trained, saved and moved with it.

    References:
        Dinh et al., Density estimation using Real NVP, 2017; Papamakarios et al., Masked autoregressive flow, 2017;
        Durkan et al., Neural spline flows, 2019.

    Examples:
        >>> import torch, pyrovae as pv
        >>> from pyro.distributions import transforms
        >>> _ = torch.manual_seed(0)
        >>> steps = [transforms.affine_coupling(4), transforms.Permute(torch.tensor([2, 3, 0, 1]))]
        >>> pv.FlowPrior(steps, 4)().log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])
        >>> pv.FlowPrior.coupling(8, layers=4, hidden=[64])().event_shape
        torch.Size([8])
    """

    def __init__(self, flow: Any, base: Event | nn.Module | None = None):
        super().__init__()
        if isinstance(flow, nn.Module) and not isinstance(flow, Transform):
            if base is not None:
                raise ArgumentError("pv.FlowPrior: a flow of zuko has a base of its own: leave out base=.")
            self.flow, self.base = flow, None
        else:
            self.flow = nn.ModuleList(HeldTransform(*part) for part in parts_of(flow))
            self.base = _base(base)
        if torch.get_default_device().type != "meta":  # where nothing can be computed
            _try(self)

    @classmethod
    def coupling(cls, size: int, *, layers: int = 4, hidden: Sequence[int] = (64,)) -> FlowPrior:
        """Affine couplings (real NVP): in each, half of the dims shift and scale the other half; quick both ways.

        Args:
            size: Dims of z, 2 at least.
            layers: How many couplings; the dims change places between them.
            hidden: Widths of each coupling's network.

        Starts close to the standard normal.
        """
        size, layers = _size(size, "coupling", 2), check_count("layers", layers)
        split, widths = size // 2, _widths(hidden)
        made = (DenseNN, split, widths, [size - split] * 2, nn.SiLU())
        nets = [network_of_pyro(*made) for _ in range(layers)]
        return cls(_turned([transforms.AffineCoupling(split, CalmNetwork(net)) for net in nets], size), size)

    @classmethod
    def autoregressive(cls, size: int, *, layers: int = 2, hidden: Sequence[int] = (64,)) -> FlowPrior:
        """Masked affine autoregressive flows: each dim is shifted and scaled by those before it.

        A density costs one pass, a draw as many as there are dims.

        Args:
            size: Dims of z, 2 at least.
            layers: How many flows; the order turns round between them.
            hidden: Widths of each flow's network.

        Starts close to the standard normal.
        """
        size, layers = _size(size, "autoregressive", 2), check_count("layers", layers)
        widths = [max(width, size) for width in _widths(hidden)]
        nets = [network_of_pyro(_masked, size, widths) for _ in range(layers)]
        return cls(_turned([AutoregressiveStep(CalmNetwork(net)).inv for net in nets], size), size)

    @classmethod
    def spline(cls, size: int, *, layers: int = 2, hidden: Sequence[int] = (64,)) -> FlowPrior:
        """Rational splines: bent by coupling where there are several dims, a free curve for a single one.

        Args:
            size: Dims of z.
            layers: How many couplings (or curves); the dims change places between them.
            hidden: Widths of each coupling's network.

        Starts close to the standard normal.
        """
        size, layers = _size(size, "spline", 1), check_count("layers", layers)
        if size == 1:
            return cls([_level(transforms.Spline(1, _BINS, _BOUND)).inv for _ in range(layers)], 1)
        return cls(_turned([_spline_coupling(size, _widths(hidden)).inv for _ in range(layers)], size), size)

    def forward(self) -> Any:
        """Batch shape `()`, event shape that of the base."""
        forget(self)  # weights may have moved since
        if self.base is None:
            return ForeignFlow(self.flow())
        return Flow(self.base(), [part() for part in self.flow.children()])

    def __getstate__(self) -> Any:
        forget(self)  # what a transform remembers of its last call hangs on a graph, which nothing can copy
        return super().__getstate__()


def _base(base: Any) -> nn.Module:
    if base is None:
        raise ArgumentError(
            "pv.FlowPrior: transforms need the distribution that they start from: give a size, such as "
            "pv.FlowPrior(transforms, 8), or a prior."
        )
    return base if isinstance(base, nn.Module) else StandardNormal(base)


def _size(size: Any, name: str, least: int) -> int:
    if isinstance(size, tuple):
        raise ArgumentError(f"pv.FlowPrior.{name}({size}): its networks are for vectors: give a whole number.")
    if (size := check_count("size", size)) < least:
        raise ArgumentError(
            f"pv.FlowPrior.{name}({size}): one dim has no other that could bend it: take {least} at least, or "
            "pv.FlowPrior.spline(1)."
        )
    return size


def _widths(hidden: Sequence[int]) -> list[int]:
    if not hidden:
        raise ArgumentError("pv.FlowPrior: hidden=[]: give the width of one layer at least, such as [64].")
    return [check_count("hidden", width) for width in hidden]


def _masked(size: int, widths: list[int]) -> AutoRegressiveNN:
    order: Any = torch.arange(size)
    return AutoRegressiveNN(size, widths, permutation=order, nonlinearity=nn.SiLU())


def _spline_coupling(size: int, hidden: list[int]) -> transforms.SplineCoupling:
    split = size // 2
    counts = [(size - split) * bins for bins in (_BINS, _BINS, _BINS - 1, _BINS)]
    net = calm(network_of_pyro(DenseNN, split, hidden, counts, nn.SiLU()))
    with torch.no_grad():
        net.layers[-1].bias[net.param_slices[2]] += _SLOPE_ONE
    step = transforms.SplineCoupling(size, split, net, _BINS, _BOUND)
    _level(step.lower_spline)
    return step


def _level(spline: transforms.Spline) -> transforms.Spline:
    """The spline as the identity."""
    with torch.no_grad():
        for parameter in spline.parameters():
            parameter.zero_()
        spline.unnormalized_derivatives.fill_(_SLOPE_ONE)
    return spline


def _turned(steps: list[Any], size: int) -> list[Any]:
    """The steps, with all dims turned round before each but the first."""
    turn = transforms.Permute(torch.arange(size).flip(0))
    return [part for number, step in enumerate(steps) for part in ([turn] * (number > 0) + [step])]


def _try(prior: FlowPrior) -> None:
    """Draw and score, and score again what is no draw any more; an error in words where that does not go."""
    prior.eval()  # a normalisation over rows would have another density for each batch
    try:
        with forked_random(0), torch.no_grad():
            fn = prior()
            values = fn.sample(torch.Size([3]))
            drawn, given = fn.log_prob(values), prior().log_prob(values)
            back = _there_and_back(prior, values)
    except Exception as error:  # transforms fail in ways of their own
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ArgumentError(
            f"pv.FlowPrior: this flow cannot be drawn from and scored at other values: {words}. Its sizes must be "
            "those of its base, and each transform needs both directions (Planar, Radial and neural "
            "autoregressive ones have one)."
        ) from error
    finally:
        prior.train()
    if drawn.shape != (3,) or not (_close(drawn, given) and _close(values, back)):
        raise ArgumentError(
            f"pv.FlowPrior: draws have log-densities {drawn.tolist()}, and {given.tolist()} where they are given: "
            "a transform's inverse is not its inverse, or its event dims are not those of the base."
        )


def _there_and_back(prior: FlowPrior, values: Tensor) -> Tensor:
    if prior.base is None:
        return values
    for step in reversed(prior().transforms):
        values = step.inv(values)
    for step in prior().transforms:
        values = step(values)
    return values


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-2)
