"""Counts as a network takes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrovae.errors import DataError
from pyrovae.pairs.may_read import may_read


class LogOfCounts(nn.Module):
    """log(1 + x) of counts."""

    def check_data(self, x: Tensor) -> None:
        """Refuse what is below 0, where the data come in."""
        if x.lt(0).any():
            raise DataError("count_vae takes counts; some of these are below 0")

    def forward(self, x: Tensor) -> Tensor:
        """Their logarithms."""
        if may_read():
            self.check_data(x)  # of a pair that is called as it stands
        return torch.log1p(x)
