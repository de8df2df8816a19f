"""A VAE whose code is a few classes, all of them summed out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, DataError
from pyrovae.models.vaes.conditional_vae import one_hot
from pyrovae.models.vaes.three_parts import ThreeParts
from pyrovae.models.vaes.vae import as_distribution, as_part, compare_events
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.registration import Registration

_MOST = 4096  # each combination is decoded for each row


class CategoricalVAE(nn.Module):
    r"""A code of a few class numbers; the model sums over all of them, so that the guide has nothing to say.

    \[ y_j \sim \text{Categorical}(\pi_j), \quad x \sim p(x \mid y), \qquad
    \log p(x) = \log \sum_y \prod_j \pi_{j y_j}\, p(x \mid y) \]

    Take it where the classes to the power of the sites are few: evidence, gradient and posterior are exact. For larger
    codes see `pv.recipes.categorical_vae(..., temperature=0.7)`.

    Args:
        likelihood: `likelihood(y)` is p(x | y), y one-hot and side by side, (sites * classes,).
        sites: how many class numbers a row has: sites `y` where 1, else `y_1`, `y_2`, ….
        classes: how many values each of them has.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.categorical_vae(5, classes=3)
        >>> pv.encode(vae, torch.ones(4, 5))["y"].mean.shape
        torch.Size([4, 3])
    """

    def __init__(self, likelihood: Callable[[Tensor], Any], *, sites: int = 1, classes: int):
        super().__init__()
        sites, self.classes = check_counts(sites=sites, classes=classes)
        if self.classes**sites > _MOST:
            raise ArgumentError(
                f"{sites} sites of {classes} classes are {self.classes**sites} combinations, each decoded for each "
                f"row; at most {_MOST} are summed out. Take fewer, or give temperature= to the recipe, which draws."
            )
        self.likelihood = as_part(likelihood, "likelihood")
        self.logits = nn.Parameter(torch.zeros(sites, self.classes))
        self.names = ["y"] if sites == 1 else [f"y_{number}" for number in range(1, sites + 1)]
        self._registration = Registration("vae")

    __getstate__ = ThreeParts.__getstate__

    def check_training_data(self, x: Tensor) -> None:
        """Refuse fewer rows than classes, before the first step."""
        if len(x) < self.classes:
            raise DataError(f"{self.classes} classes cannot be learned from {len(x)} rows: take fewer, or more data.")

    def model(self, x: Tensor) -> Tensor:
        """Sites `y` or `y_1`, … (enumerated) and `x` in the plate `data`; returns the code, (rows, sites * classes)."""
        self._registration(self)
        with pyro.plate("data", len(x)):
            drawn = [
                pyro.sample(name, dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
                for name, logits in zip(self.names, self.logits, strict=True)
            ]
            code = torch.cat([one_hot(y, self.classes) for y in torch.broadcast_tensors(*drawn)], -1)
            likelihood = as_distribution(self.likelihood(code), "likelihood")
            compare_events(x, likelihood, "x holds data", "the likelihood", DataError)
            pyro.sample("x", likelihood, obs=x)
        return code

    def guide(self, x: Tensor) -> None:
        """Nothing: the model sums over its latent sites."""
        self._registration(self)

    def blank(self, n: int) -> tuple[Tensor]:
        """Zeros of (n, *event)."""
        code = self.logits.new_zeros(2, self.logits.numel())
        with torch.no_grad():
            return (self.logits.new_zeros(n, *self.likelihood(code).event_shape),)
