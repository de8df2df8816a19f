"""Guides of models whose posteriors are known, to be trained."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyrovae.models.conditionals.conditional import Conditional
from pyrovae.pairs.registration import Registration


class LearnedPositive(Conditional):
    """A distribution of two positive parameters, both learned."""

    def __init__(self, family: Any):
        super().__init__()
        self.family = family
        # Size and balance, not the two themselves: a tight posterior is a long narrow valley in those.
        self.size, self.balance = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self) -> Any:
        """The distribution of nothing given."""
        return self.family((self.size + self.balance).exp(), (self.size - self.balance).exp())


class TrainableGuide:
    """A guide of one site drawn from a conditional: of x inside the plate, or of nothing outside it."""

    def __init__(self, posterior: Conditional, site: str, *, local: bool):
        self.posterior, self.site, self.local = posterior, site, local
        self.registration = Registration("guide")

    def __call__(self, x: Tensor) -> Tensor:
        """Draw the site."""
        self.registration(self.posterior)
        if not self.local:
            return pyro.sample(self.site, self.posterior())
        with pyro.plate("data", len(x)):
            return pyro.sample(self.site, self.posterior(x))


def uniform_numbers(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers from 0 to 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
