"""A flow of zuko as a distribution of Pyro."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints


class ForeignFlow(dist.TorchDistribution):
    """A distribution of zuko, drawn from and scored as Pyro does it; nothing is remembered of draws.

    Args:
        flow: what a lazy distribution of zuko gives.
    """

    arg_constraints: Any = {}  # noqa: RUF012 - as torch has it

    def __init__(self, flow: Any):
        self.flow = flow
        super().__init__(flow.batch_shape, flow.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether draws have gradients."""
        return self.flow.has_rsample

    @property
    def support(self) -> Any:
        """All real numbers, as flows have."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw."""
        return self.flow.rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw without gradients."""
        return self.flow.sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The flow's log-density at any value, drawn or not."""
        return self.flow.log_prob(value)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ForeignFlow:
        """Of another batch shape."""
        return ForeignFlow(self.flow.expand(torch.Size(batch_shape)))
