"""A network of several inputs, of which some pass a module of their own before."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class EachInput(nn.Module):
    """A network of several inputs, each of them after its own module: \\( f(g_1(x_1), g_2(x_2), \\dots) \\).

    Args:
        network: f, such as an `MLP` of a list of inputs.
        *before: g for each input, which keeps its number of dims; None leaves it as it is.
    """

    def __init__(self, network: Any, *before: nn.Module | None):
        super().__init__()
        self.network = network
        self.before = nn.ModuleList(nn.Identity() if one is None else one for one in before)
        self.input_dims, self.output_shape = network.input_dims, network.output_shape

    def forward(self, *given: Tensor) -> Tensor:
        """What the network gives."""
        return self.network(*(one(value) for one, value in zip(self.before, given, strict=True)))
