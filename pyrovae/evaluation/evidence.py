"""What a pair says of each datum: ELBO, evidence, and how far its importance weights can be trusted."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.evaluation.arviz_versions import psislw
from pyrovae.evaluation.estimate import Estimate, Mean
from pyrovae.evaluation.importance_weights import (
    check,
    checked,
    each_datum,
    joined,
    joint_weights,
    of_the_set,
    row_weights,
)
from pyrovae.evaluation.per_datum import (
    check_common_densities,
    check_plate,
    check_proper,
    of_each_datum,
    of_the_whole,
    sampler_of,
)
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.densities import densities_of
from pyrovae.sampling.plate_size import plate_size


class Psis(NamedTuple):
    """Shape k of the tail of the importance weights, and their effective sample size, (rows,) or ().

    Below 0.7 the estimates from these weights can be trusted; `ess` is in draws.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.psis(vae, torch.randn(8, 5), draws=100)._fields
        ('khat', 'ess')
    """

    khat: torch.Tensor
    ess: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


@in_turn
def elbo(
    pair: HasPair, /, *data: Any, draws: int = 100, seed: int | None = 0, data_plate: str | None = None, **named: Any
) -> Estimate:
    r"""The evidence lower bound of each datum, without temper.

    \[ \mathcal L_n = \mathbb E_{q(w)\, q(z_n \mid x_n, w)}\big[\log p(x_n, z_n \mid w) - \log q(z_n \mid x_n, w)\big]
    - \frac1N \operatorname{KL}\big(q(w) \,\|\, p(w)\big) \]

    with w the sites that all data share, and N the size of the data plate. What is observed for all data together
    counts 1/N in each, too, so that the sum is the ELBO of the whole. Sites that the model enumerates are summed out.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: draws from the guide for each datum.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `Estimate`, value and standard error (rows,).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.elbo(vae, torch.randn(64, 5), draws=10).value.shape
        torch.Size([64])
    """
    sampler = sampler_of(pair, data, named, seed, data_plate)
    check_plate(sampler)
    check_common_densities(sampler.use, sums=False)
    found, size = [], 0
    for rows, tiles in groupby(sampler.tiles(draws, "scored"), key=attrgetter("rows")):
        mean = Mean()
        for tile in tiles:
            size = size or plate_size(tile, sampler)
            part = densities_of(tile)
            common = (part.global_model - part.global_guide) / size
            mean.add((part.log_weights + common[:, None]).cpu())
        found.append(checked(mean.estimate(), rows))
    return joined(found)


@in_turn
def log_evidence(
    pair: HasPair,
    /,
    *data: Any,
    draws: int | tuple[int, int] = 512,
    joint: bool = False,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Estimate:
    r"""The evidence of each datum, weighted by importance, with its standard error.

    \[ \log p(x_n) \approx \log \frac1K \sum_{k=1}^K \frac{p(x_n, z_{nk} \mid w_k)}{q(z_{nk} \mid x_n, w_k)}, \qquad
    w_k \sim q(w), \quad z_{nk} \sim q(z_n \mid x_n, w_k) \]

    Where the pair has sites w that all data share, this is \(\log \mathbb E_{q(w)}\, p(x_n \mid w)\): weights are over
    local sites alone. `joint=True` gives the evidence of the whole set, \(\log p(x_1, \dots, x_N)\), with weights over
    all sites. In expectation the estimate lies below the truth, the less the more draws; where the tails of the
    weights say that it lies below by more than its error (`psis`), a line of the log tells of it. Temper and the scale
    of a subsample do not enter; sites that the model enumerates are summed out. Where masks hide all of a row, its
    evidence is 0, whatever the draws.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: draws for each datum. With `joint=True` and global sites: how many global draws, and how many local
            ones for each; an integer is the first, the second is then 16.
        joint: the evidence of the whole set instead of that of each datum.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `Estimate`, value and standard error (by the delta method), (rows,) or with `joint=True` ().

    Raises:
        DataError: every draw of a datum has the weight 0, or a weight is not a number.

    References:
        Burda et al., "Importance weighted autoencoders" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> x = truth.sample(4)
        >>> found = pv.log_evidence(truth, x, draws=2)  # its guide is the posterior: each weight is the evidence
        >>> torch.allclose(found.value.float(), truth.log_evidence(x), atol=1e-4)
        True
    """
    if joint:
        return of_the_set(check_proper(of_the_whole(pair, data, named, seed, data_plate), joint=True), draws)
    if isinstance(draws, tuple | list):
        raise ArgumentError(
            f"{argument('draws', draws)}; give a whole number, or a pair of them together with joint=True."
        )
    sampler = check_proper(of_each_datum(pair, data, named, seed, data_plate))
    return each_datum(sampler, draws)


@in_turn
def psis(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 512,
    joint: bool = False,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Psis:
    r"""Pareto-smoothed importance weights of each datum: can the guide's draws stand for the posterior?

    k is the shape of a generalised Pareto distribution fitted to the largest weights, and with the smoothed weights
    \(\tilde w\), which add up to 1, \( \text{ess} = 1 / \sum_k \tilde w_k^2 \). The weights are those of
    `log_evidence`.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: draws for each datum; a fit needs 30 at least.
        joint: weights of the whole set, over global and local sites together, instead of those of each datum.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        A `Psis`, (rows,) or with `joint=True` (). Weights equal to a thousandth have no tail: their k is -inf.

    Raises:
        DataError: every draw of a datum has the weight 0, or a weight is not a number.

    References:
        Vehtari et al., "Pareto smoothed importance sampling" (2024).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.psis(vae, torch.randn(64, 5), draws=100).ess.shape
        torch.Size([64])
    """
    if joint:
        sampler = of_the_whole(pair, data, named, seed, data_plate)
        return Psis(*(part[0] for part in _smoothed(joint_weights(sampler, draws)[:, None], None)))
    sampler = of_each_datum(pair, data, named, seed, data_plate)
    found = [_smoothed(weights, rows) for rows, weights in row_weights(sampler, draws)]
    return Psis(*map(torch.cat, zip(*found, strict=True)))


def _smoothed(log_weights: torch.Tensor, rows: range | None) -> Psis:
    check(log_weights.logsumexp(0), rows)
    weights, khat = map(torch.from_numpy, psislw(log_weights.T.numpy()))
    return Psis(khat, 1 / (2 * weights).exp().sum(-1))
