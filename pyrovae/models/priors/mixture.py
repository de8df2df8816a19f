"""A learned mixture of normals as a prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.models.conditionals.conditional import Conditional, bounded
from pyrovae.models.nets import Event, event_shape
from pyrovae.models.priors.normal_mixture import mixture_of
from pyrovae.pairs.numbers import check_count


class Mixture(Conditional):
    r"""A learned mixture of diagonal normals: \( \sum_k \pi_k\, \mathcal N(\mu_k, e^{2 b(s_k)} I) \).

    Args:
        components: How many.
        shape: Event shape, an integer or a tuple.

    The locations start as standard normal draws: equal components would have equal gradients for ever.

    Examples:
        >>> import pyrovae as pv
        >>> pv.Mixture(10, 8)().event_shape
        torch.Size([8])
    """

    def __init__(self, components: int, shape: Event):
        super().__init__()
        size = (check_count("components", components), *event_shape(shape, "shape"))
        self.logits = nn.Parameter(torch.zeros(size[0]))
        self.loc = nn.Parameter(torch.randn(size))
        self.log_scale = nn.Parameter(torch.zeros(size))

    def forward(self) -> Any:
        """Batch shape `()`, event shape as given."""
        return mixture_of(dist.Categorical(logits=self.logits), self.component(slice(None)))

    def component(self, number: int | slice | Tensor) -> Any:
        """The normals of these components; batch shape: that of their numbers."""
        scale = bounded(self.log_scale).exp()
        return dist.Normal(self.loc[number], scale[number]).to_event(self.loc.dim() - 1)
