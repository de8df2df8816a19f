"""Figures with their standard errors, from draws that are seen once."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from pyrovae.plots.in_words import of_numbers


class Estimate(NamedTuple):
    """A figure and its Monte Carlo standard error, tensors of one shape: (rows,), or () for a whole set.

    Examples:
        >>> import torch, pyrovae as pv
        >>> x = torch.randn(64, 5)
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> estimate = pv.log_evidence(vae, x, draws=100)
        >>> estimate.value.shape, estimate.error.shape
        (torch.Size([64]), torch.Size([64]))
    """

    value: torch.Tensor
    error: torch.Tensor

    def __repr__(self) -> str:
        """The mean over the rows with its standard error, and how the rows lie; a single figure with its own error."""
        if self.value.numel() == 1:
            return f"Estimate: {float(self.value):.5g} ± {float(self.error):.2g}"
        rows = self.value.double()
        mean, spread = float(rows.mean()), float(rows.std() / rows.numel() ** 0.5)
        shown = (f"  {name}  {of_numbers(numbers)}" for name, numbers in zip(self._fields, self, strict=True))
        return "\n".join([f"Estimate: {mean:.5g} ± {spread:.2g}, the mean of {len(rows):,} rows", *shown])


class Mean:
    """The mean over draws in one pass, with its standard error, by the update of Chan, Golub and LeVeque (1983).

    For sums of a few tensors: `prediction.moments.RunningMoments` does the same of arrays with millions of numbers,
    in pieces that stay in the processor's cache.
    """

    def __init__(self):
        self.count = 0
        self.weight = 0.0  # of all that was taken in; that of a draw is 1 where nothing else is said
        self.mean: torch.Tensor = torch.zeros(())
        self.squares: torch.Tensor = torch.zeros(())  # of the distances to the mean, weighted

    def add(self, terms: torch.Tensor, weight: float = 1.0) -> None:
        """Take in draws, (draws, ...), each of the same weight."""
        mean, added = terms.mean(0), weight * len(terms)
        shift, total = mean - self.mean, self.weight + added
        self.squares = self.squares + weight * (terms - mean).square().sum(0)
        self.squares = self.squares + shift.square() * (self.weight * added / total)
        self.mean = self.mean + shift * (added / total)
        self.count, self.weight = self.count + len(terms), total

    def variance(self) -> torch.Tensor:
        """The mean square of the distances to the mean."""
        return self.squares / self.weight

    def estimate(self) -> Estimate:
        """The mean so far; one draw has no error."""
        if self.count < 2:
            return Estimate(self.mean, torch.full_like(self.mean, math.nan))
        return Estimate(self.mean, (self.variance() / (self.count - 1)).sqrt())


class LogMean:
    r"""log of the mean of exponentials over draws, in one pass: nothing is kept but sums.

    \[ \hat\ell = \log \frac1K \sum_k w_k, \qquad \operatorname{se}(\hat\ell) \approx
    \frac{\operatorname{sd}(w)}{\sqrt K\, \bar w} \quad \text{(delta method)} \]
    """

    def __init__(self):
        self.count = 0
        self.top: torch.Tensor = torch.tensor(-math.inf)
        self.first: torch.Tensor = torch.zeros(())  # sum of exp(term - top)
        self.second: torch.Tensor = torch.zeros(())  # sum of their squares

    def add(self, terms: torch.Tensor) -> None:
        """Take in log weights, (draws, ...)."""
        top = torch.maximum(terms.amax(0), self.top)
        # Where all weights are 0 so far, exp(-inf - (-inf)) would be NaN.
        level = torch.where(top == -math.inf, 0.0, top)
        before, weights = (self.top - level).exp(), (terms - level).exp()
        self.first = self.first * before + weights.sum(0)
        self.second = self.second * before.square() + weights.square().sum(0)
        self.top, self.count = top, self.count + len(terms)

    def estimate(self) -> Estimate:
        """The figure so far; one draw has no error."""
        mean = self.first / self.count
        value = self.top + mean.log()
        if self.count < 2:
            return Estimate(value, torch.full_like(value, math.nan))
        variance = (self.second / self.count - mean.square()).clamp(min=0) / (self.count - 1)
        return Estimate(value, variance.sqrt() / mean)
