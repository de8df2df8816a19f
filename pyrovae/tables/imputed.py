"""Completed data, with how far their draws can be trusted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pyrovae.errors import ArgumentError


class Imputed(NamedTuple):
    """Completed data, and how far their draws can be trusted.

    Attributes:
        values: `{observed site: (draws, rows, ...)}`: what is there as it is, and draws of what is missing.
        missing: `{observed site: (rows, ...)}`: True where a cell was drawn.
        khat: of each row, the tail of the weights by which its latents were chosen; below 0.7 they can be trusted.
        ess: of each row, how many of the candidates count.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.1)
        >>> x = torch.tensor([[2.0, float("nan"), 2.0]])
        >>> found = pv.impute(pv.masked(truth, fill=2.0), x, draws=100)
        >>> [round(one) for one in found.mean()["x"][0].tolist()]
        [2, 2, 2]
    """

    values: dict[str, torch.Tensor]
    missing: dict[str, torch.Tensor]
    khat: torch.Tensor
    ess: torch.Tensor

    def mean(self) -> dict[str, torch.Tensor]:
        """Completed data with the means of the draws, (rows, ...)."""
        return {
            site: mean.to(self.values[site].dtype) if self.values[site].is_floating_point() else mean
            for site, mean in ((site, value.double().mean(0)) for site, value in self.values.items())
        }

    def interval(self, level: float = 0.9) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The ends of central intervals, each (rows, ...); both are the value itself where it is there."""
        if not 0 < level < 1:
            raise ArgumentError(f"level={level!r}; give a number between 0 and 1.")
        ends = (1 - level) / 2, (1 + level) / 2
        return {
            site: tuple(torch.from_numpy(np.quantile(value.numpy(), end, axis=0)) for end in ends)  # type: ignore[misc]  # two
            for site, value in self.values.items()
        }
