"""Normal priors: conditionals of nothing, so `prior()` has batch shape `()`."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.models.conditionals.conditional import Conditional, bounded
from pyrovae.models.nets import Event, event_shape


class StandardNormal(Conditional):
    r"""Independent standard normals: \( \mathcal N(0, I) \).

    Args:
        shape: Event shape, an integer or a tuple.

    Examples:
        >>> import pyrovae as pv
        >>> pv.StandardNormal(8)().event_shape
        torch.Size([8])
    """

    zero: Tensor

    def __init__(self, shape: Event):
        super().__init__()
        self.shape = event_shape(shape, "shape")
        # Says type and device; it follows .to() and .double(), and holds nothing that a file should keep.
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self) -> Any:
        """Batch shape `()`, event shape as given."""
        return _normal(self.zero.expand(self.shape), torch.ones_like(self.zero).expand(self.shape))


class LearnedNormal(Conditional):
    r"""A diagonal normal whose parameters are learned: \( \mathcal N(\mu, \operatorname{diag}(e^{2 b(s)})) \).

    Args:
        shape: Event shape, an integer or a tuple.

    Starts as the standard normal.

    Examples:
        >>> import pyrovae as pv
        >>> pv.LearnedNormal(8)().event_shape
        torch.Size([8])
    """

    def __init__(self, shape: Event):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(event_shape(shape, "shape")))
        self.log_scale = nn.Parameter(torch.zeros_like(self.loc))

    def forward(self) -> Any:
        """Batch shape `()`, event shape as given."""
        return _normal(self.loc, bounded(self.log_scale).exp())


def _normal(loc: Tensor, scale: Tensor) -> Any:
    return dist.Normal(loc, scale).to_event(loc.dim())
