"""A prior with heavy tails."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError
from pyrovae.models.conditionals.conditional import Conditional, check_scale, scale_of
from pyrovae.models.nets import Event, event_shape


class StudentPrior(Conditional):
    r"""Independent Student's t: \( \prod_i t_\nu(z_i) \).

    Take it where a few data are unlike all others: under a normal a code far out costs its square, and is pulled in;
    here it costs the logarithm of its distance.

    Args:
        shape: Event shape, an integer or a tuple.
        df: ν, a positive number, or `LearnedScale(shape, initial=5.0)`, which learns it: one for all dims, or one each.
            Above some 30 this is the standard normal; the variance needs ν > 2.

    References:
        Student, The probable error of a mean, 1908; Lange et al., Robust statistical modeling using the t, 1989.

    Examples:
        >>> import pyrovae as pv
        >>> pv.StudentPrior(8, df=4.0)().event_shape
        torch.Size([8])
    """

    zero: Tensor

    def __init__(self, shape: Event, *, df: float | nn.Module = 5.0):
        super().__init__()
        if df is None:
            raise ArgumentError("pv.StudentPrior: df=None: give a positive number or pv.LearnedScale(shape)")
        self.shape, self.df = event_shape(shape, "shape"), check_scale(df, "StudentPrior", "df")
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # says type and device

    def forward(self) -> Any:
        """Batch shape `()`, event shape as given."""
        loc = self.zero.expand(self.shape)
        df = scale_of(self.df, loc, len(self.shape), "StudentPrior")
        return dist.StudentT(df, loc, torch.ones_like(loc)).to_event(len(self.shape))
