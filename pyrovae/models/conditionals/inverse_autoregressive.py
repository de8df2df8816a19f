"""A normal bent by inverse autoregressive flows, mostly for posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.autoregressive_step import AutoregressiveStep, CalmNetwork, network_of_pyro
from pyrovae.models.conditionals.conditional import Conditional, bounded, check_network, network_output
from pyrovae.models.priors.held_transform import Flow
from pyrovae.pairs.numbers import check_count


class IAF(Conditional):
    r"""A normal bent by inverse autoregressive flows: each dim is shifted and scaled by those before it.

    \[ z^0 \sim \mathcal N(\mu, \operatorname{diag}(e^{2 b(s)})), \qquad
    z^l_i = \sigma^l_i(z^{l-1}_{<i}, c)\, z^{l-1}_i + \mu^l_i(z^{l-1}_{<i}, c), \qquad (\mu, s, c) = f(\text{given}) \]

    Take it where posteriors bend, as they do under a strong decoder. A draw and its density cost one pass of each flow;
    the density of any other value costs as many as there are dims.

    Args:
        network: Gives a vector of 2 d + context for an event (d,): μ, s, then the context c of the row.
        size: d, 2 at least.
        context: How many numbers the flows are told of the row.
        layers: How many flows; the order of the dims turns round between them.
        hidden: Widths of each flow's masked network.

    References:
        Kingma et al., Improved variational inference with inverse autoregressive flow, 2016;
        Germain et al., MADE, 2015.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.IAF(pv.MLP(5, [8], 2 * 3 + 16), 3)(torch.zeros(4, 5)).event_shape
        torch.Size([3])
    """

    def __init__(self, network: Any, size: int, *, context: int = 16, layers: int = 2, hidden: Sequence[int] = (64,)):
        super().__init__()
        if (size := check_count("size", size, where="pv.IAF: ")) < 2:
            raise ArgumentError("pv.IAF: a single dim has none before it that could bend it: take pv.DiagNormal.")
        if not hidden:
            raise ArgumentError("pv.IAF: hidden=[]: give the width of one layer at least, such as [64].")
        self.size, self.context = size, check_count("context", context, where="pv.IAF: ")
        self.network = check_network(network, "IAF", self._check)
        widths = [max(check_count("hidden", width, where="pv.IAF: "), size) for width in hidden]
        self.flows = nn.ModuleList(
            CalmNetwork(network_of_pyro(_masked, size, self.context, widths, number % 2))
            for number in range(check_count("layers", layers, where="pv.IAF: "))
        )

    def forward(self, *given: Tensor) -> Any:
        """Batch shape: leading dims of `given`; event shape (d,)."""
        output, dims = network_output(self.network, given, "IAF")
        self._check(output.shape[output.dim() - dims :], "IAF")
        loc, raw, context = output.split([self.size, self.size, self.context], -1)
        base = dist.Normal(loc, bounded(raw).exp()).to_event(1)
        # Made anew, so that what a step remembers of a draw is of these weights and these rows.
        steps = [AutoregressiveStep(partial(_told, flow, context)) for flow in self.flows]
        return Flow(base, steps)

    def _check(self, event: tuple[int, ...], owner: str) -> None:
        if tuple(event) != (2 * self.size + self.context,):
            raise ArgumentError(
                f"pv.{owner} takes a vector of 2 * {self.size} + {self.context} = {2 * self.size + self.context} "
                f"numbers for an event of {self.size}; its network's output has event shape {tuple(event)}"
            )


def _masked(size: int, context: int, widths: list[int], turned: int) -> ConditionalAutoRegressiveNN:
    order: Any = torch.arange(size).flip(0) if turned else torch.arange(size)
    return ConditionalAutoRegressiveNN(size, context, widths, permutation=order, nonlinearity=nn.SiLU())


def _told(flow: nn.Module, context: Tensor, x: Tensor) -> Any:
    leading = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    return flow(x.expand(*leading, x.shape[-1]), context)
