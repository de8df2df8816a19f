"""Whether what is said to happen in 80 per cent of cases happens in 80 per cent of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from pyrovae.plots.in_words import in_words

BINS = 15  # as in most published figures of the expected calibration error (Guo et al., 2017)


class Reliability(NamedTuple):
    r"""How often something happened among the cases in which it was said to happen with a given probability.

    \[ \text{ECE} = \sum_b \frac{N_b}{N}\, |f_b - c_b| \]

    with the mean probability said c_b and the frequency f_b in each bin. For binary sites the event is a one, for
    classes that the most probable one is right.

    Attributes:
        said: mean probability in each bin, (bins,); NaN in an empty one.
        found: frequency in each bin.
        error: the frequency's standard error, elements of one row taken as one cluster.
        count: elements in each bin.
        expected_error: the expected calibration error.
        by_chance: what that would be on average for exact probabilities and so many rows: it is never 0.

    Examples:
        >>> import torch
        >>> from pyrovae.trust.reliability import Reliability
        >>> said = torch.tensor([0.9] * 10 + [0.1] * 10)
        >>> happened = torch.tensor([1.0] * 9 + [0.0] + [0.0] * 9 + [1.0])
        >>> round(Reliability.of(said, happened).expected_error, 6)
        0.0
    """

    said: torch.Tensor
    found: torch.Tensor
    error: torch.Tensor
    count: torch.Tensor
    expected_error: float
    by_chance: float

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @classmethod
    def of(cls, said: torch.Tensor, happened: torch.Tensor, seen: torch.Tensor | None = None) -> Reliability:
        """From probabilities and zeros or ones, (rows, *rest)."""
        tally = ReliabilityTally()
        tally.add(said, happened, torch.ones_like(said, dtype=torch.bool) if seen is None else seen)
        return tally.reliability()


class ReliabilityTally:
    """Sums over rows, bin by bin."""

    def __init__(self):
        self.count, self.said, self.found, self.squares, self.products, self.counts = torch.zeros(
            6, BINS, dtype=torch.float64
        )

    def add(self, said: torch.Tensor, happened: torch.Tensor, seen: torch.Tensor) -> None:
        """Take in probabilities and zeros or ones, (rows, *rest), of which `seen` count."""
        rows = len(said)
        bins = (said.double().cpu().reshape(rows, -1) * BINS).long().clamp(0, BINS - 1)
        weight = seen.cpu().reshape(rows, -1).double()

        def summed(values: torch.Tensor) -> torch.Tensor:
            return torch.zeros(rows, BINS, dtype=torch.float64).scatter_add_(1, bins, values * weight)

        count = summed(torch.ones_like(weight))
        found = summed(happened.cpu().reshape(rows, -1).double())
        self.said += summed(said.cpu().reshape(rows, -1).double()).sum(0)
        self.count += count.sum(0)
        self.found += found.sum(0)
        self.squares += found.square().sum(0)
        self.products += (found * count).sum(0)
        self.counts += count.square().sum(0)

    def reliability(self) -> Reliability:
        """What the sums say."""
        said, found = self.said / self.count, self.found / self.count
        variance = (self.squares - 2 * found * self.products + found.square() * self.counts).clamp(min=0)
        error = variance.sqrt() / self.count
        share = self.count / self.count.sum()
        # The mean of |normal| is sqrt(2 / pi) standard deviations; rows in a bin are as many clusters.
        exact = (said * (1 - said) * self.counts).clamp(min=0).sqrt() / self.count
        spread = torch.minimum(exact, torch.maximum(error, (said * (1 - said) / self.count).sqrt()))
        by_chance = float((share * spread).nansum()) * math.sqrt(2 / math.pi)
        return Reliability(said, found, error, self.count, float((share * (found - said).abs()).nansum()), by_chance)
