"""Whether explanations by pairs that were trained from other seeds say the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.plots.in_words import in_words
from pyrovae.trust.explanation.explanation import Explanation


class ExplanationStability(NamedTuple):
    """How far explanations of the same rows agree.

    Attributes:
        correlation: of the shares of each row, averaged over all pairs of explanations, (rows,); NaN where a row's
            shares are all alike.
        first: in which share of the pairs of explanations the greatest share is that of the same cell, (rows,).
        mean: the mean share of each cell.
        spread: the standard deviation of the share of each cell over the explanations.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> x = torch.tensor([[2.0, 1.0, -4.0]])
        >>> asked = {"of": "novelty", "absent": 0.0, "draws": 2, "repeats": 2}
        >>> several = [pv.explain(truth, x, **asked, seed=seed) for seed in range(2)]
        >>> [round(float(one), 3) for one in pv.explanation_stability(several)[:2]]
        [1.0, 1.0]
    """

    correlation: Tensor
    first: Tensor
    mean: Tensor
    spread: Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


def explanation_stability(explanations: Sequence[Explanation]) -> ExplanationStability:
    """Compare explanations of the same rows by pairs that differ by the seed of their training.

    Evidence, novelty and uncertainty mean the same in each of them. A latent dimension does not: latents rotate and
    change places, and the shares in `("z", 0)` of one pair are not those in `("z", 0)` of another.

    Args:
        explanations: two or more, of the same rows.

    Returns:
        An `ExplanationStability`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> x = truth.sample(2)
        >>> several = [pv.explain(truth, x, absent=0.0, draws=2, repeats=2, seed=seed) for seed in range(3)]
        >>> pv.explanation_stability(several).spread.shape
        torch.Size([2, 3])
    """
    several = list(explanations)
    if len(several) < 2 or len({one.contribution.shape for one in several}) > 1:
        shapes = [tuple(one.contribution.shape) for one in several]
        raise ArgumentError(
            f"explanation_stability: shares of shapes {shapes}; give two explanations or more, of the same rows."
        )
    if len(figures := {(one.of, one.method, one.absent) for one in several}) > 1:
        asked = "; ".join(" by ".join(figure[:2]) + f", absent {figure[2]}" for figure in sorted(figures))
        raise ArgumentError(f"explanation_stability: these are shares in different figures ({asked}); ask one of all.")
    shares = torch.stack([one.contribution for one in several]).double()
    flat = shares.flatten(2)
    pairs = list(combinations(range(len(several)), 2))
    alike = torch.stack([_correlation(flat[one], flat[other]) for one, other in pairs]).mean(0)
    first = torch.stack([(flat[one].argmax(1) == flat[other].argmax(1)).double() for one, other in pairs]).mean(0)
    return ExplanationStability(alike, first, shares.mean(0), shares.std(0))


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    size = (one.square().sum(1) * other.square().sum(1)).sqrt()
    return torch.where(size > 0, (one * other).sum(1) / size, math.nan)
