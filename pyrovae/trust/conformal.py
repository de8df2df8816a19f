"""P-values from held-out data: how many of them are at least as strange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from pyrovae.plots.in_words import in_words

_TOGETHER = 2**22  # numbers worked on at once


class NoveltyScore(NamedTuple):
    r"""How strange each datum is, and how often a datum like the calibration data is at least as strange.

    \[ p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1} \]

    with s_i the scores of n calibration data. For a datum exchangeable with them \( P(p \le \alpha) \le \alpha \),
    whatever the score: a threshold on p is a rate of false alarms.

    Attributes:
        score: (rows,); the larger the stranger.
        p_value: (rows,).
        usual: scores of the calibration data, sorted, (n,).

    References:
        Vovk et al., "Algorithmic learning in a random world" (2005); Bates et al., "Testing for outliers with
        conformal p-values" (2023).

    Examples:
        >>> import torch
        >>> from pyrovae.trust.conformal import NoveltyScore
        >>> NoveltyScore.of(torch.tensor([0.5, 9.0]), torch.arange(1.0, 5.0)).p_value
        tensor([1.0000, 0.2000], dtype=torch.float64)
    """

    score: torch.Tensor
    p_value: torch.Tensor
    usual: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @classmethod
    def of(cls, score: torch.Tensor, usual: torch.Tensor) -> NoveltyScore:
        """From scores of new data and of calibration data."""
        usual = usual.double().sort().values
        return cls(score, shares_above(usual, score.double()), usual)


def shares_above(usual: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """(1 + how many of `usual`, which are sorted, are at least the score) / (n + 1)."""
    at_least = len(usual) - torch.searchsorted(usual, score.contiguous())
    return (1 + at_least).double() / (len(usual) + 1)


class Bag(NamedTuple):
    """For each new datum the set of itself and all calibration data, in which none has a place of its own.

    `score` is (rows, n + 1), the new datum last, and `share` the share of the bag that is at least as strange.
    """

    score: torch.Tensor
    share: torch.Tensor


def one_sided(new: torch.Tensor, usual: torch.Tensor) -> Bag:
    """The larger the stranger."""
    ordered = usual.sort().values
    count = len(usual) - torch.searchsorted(ordered, usual)  # of the others and itself
    joins = new[:, None] >= usual
    others = (count + joins).double() / (len(usual) + 1)
    own = shares_above(ordered, new)
    score = torch.cat([usual.expand(len(new), -1), new[:, None]], 1)
    return Bag(score, torch.cat([others, own[:, None]], 1))


def two_sided(new: torch.Tensor, usual: torch.Tensor) -> Bag:
    """The further from the bag's median the stranger."""
    bag = torch.cat([usual.expand(len(new), -1), new[:, None]], 1)
    score = (bag - bag.median(1, keepdim=True).values).abs().nan_to_num(nan=torch.inf)
    ordered = score.sort(1).values
    at_least = score.shape[1] - torch.searchsorted(ordered, score)
    return Bag(score, at_least.double() / score.shape[1])


def with_p_values(
    new: Mapping[str, torch.Tensor], usual: Mapping[str, torch.Tensor], sides: Mapping[str, int]
) -> dict[str, NoveltyScore]:
    """Each score with its p-value, and `combined`: the smallest p-value, calibrated as a score of its own.

    Every quantity depends on the bag alone and not on the order in it, so all p-values hold exactly.

    Args:
        new: scores of new data, {name: (rows,)}.
        usual: those of the calibration data.
        sides: 1 where a large score is strange, 2 where it is one far from the median.
    """
    rows, count = len(next(iter(new.values()))), len(next(iter(usual.values())))
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for part in torch.arange(rows).split(max(1, _TOGETHER // (count + 1))):
        bags = {name: _BAGS[sides[name]](new[name][part], usual[name]) for name in new}
        for name, bag in bags.items():
            found.setdefault(name, []).append((bag.score[:, -1], bag.share[:, -1]))
        found.setdefault("combined", []).append(_combined([bag.share for bag in bags.values()]))
    own = {name: _among_themselves(usual[name], sides[name]) for name in new}
    own["combined"] = -torch.stack([_shares(score) for score in own.values()]).amin(0).log()
    joined = {name: [torch.cat(values) for values in zip(*parts, strict=True)] for name, parts in found.items()}
    return {name: NoveltyScore(score, p, own[name].sort().values) for name, (score, p) in joined.items()}


_BAGS = {1: one_sided, 2: two_sided}


def _combined(shares: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and p-value of the new data from the smallest share of each member of their bags."""
    smallest = torch.stack(shares).amin(0)
    at_least = (smallest <= smallest[:, -1:]).sum(1)
    return -smallest[:, -1].log(), at_least.double() / smallest.shape[1]


def _among_themselves(usual: torch.Tensor, sides: int) -> torch.Tensor:
    """The calibration data's scores without a new datum among them, for pictures."""
    return usual if sides == 1 else (usual - usual.median()).abs()


def _shares(score: torch.Tensor) -> torch.Tensor:
    return (len(score) - torch.searchsorted(score.sort().values, score)).double() / len(score)
