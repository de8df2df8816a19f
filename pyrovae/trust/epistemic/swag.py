"""The moments of the weights along a training as their posterior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.evaluation.estimate import Mean
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.training.fit_options import FitKeywords
from pyrovae.training.steps import steps
from pyrovae.trust.epistemic.uncertain_weights import PairWeights, with_uncertain_weights
from pyrovae.trust.epistemic.weight_distributions import SwagWeights
from pyrovae.trust.epistemic.weights import Weights


def swag(
    pair: HasPair, data: Any, /, *, rank: int = 20, every: int | None = None, **options: Unpack[FitKeywords]
) -> HasPair:
    r"""Train a pair on, and take the moments of its weights along the way for their posterior.

    \[ q(w) = \mathcal N\Big(\bar w, \tfrac12 \operatorname{diag}(\overline{w^2} - \bar w^2) +
    \tfrac{1}{2 (K - 1)} D D^\top\Big) \]

    Args:
        pair: any pair, trained before. It is trained on in place, and holds the mean of the path afterwards.
        data: as in `fit`.
        rank: K, how many of the last sets of weights are kept; 0 or 1 for a diagonal.
        every: steps from one set to the next; left out, an epoch.
        **options: those of `fit`; a constant learning rate, larger than one would end a training with, makes the path
            explore. Without any nothing is trained: a pair to load a saved one into.

    Returns:
        A pair with the global site `weights`, whose prior and posterior are alike.

    References:
        Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> x = torch.poisson(torch.full((200, 5), 3.0))
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> _ = pv.fit(vae, x, epochs=50, learning_rate=0.01, seed=0, progress=False)
        >>> pair = pv.epistemic.swag(vae, x, epochs=20, learning_rate=0.01, seed=0)
        >>> (pv.uncertainty(pair, x[:4], draws=500)["x"].epistemic > 0).all()
        tensor(True)
    """
    rank, every = check_count("rank", rank, least=0), None if every is None else check_count("every", every)
    moments = _Moments(rank)
    for vector in _path(pair, data, every, options):
        moments.add(vector)
    known = PairWeights.of(pair, data)
    like = known.weights.vector()
    if not moments.along.count:
        moments.add(like)
    elif moments.along.count < 2:
        raise ArgumentError(
            "the path holds one set of weights, which has no spread: give more epochs, or a smaller every=."
        )
    known.weights.write(moments.along.mean)
    return with_uncertain_weights(known, moments.distribution(like), "weights")


def _path(pair: HasPair, data: Any, every: int | None, options: FitKeywords) -> Iterator[Tensor]:
    """The weights once an epoch, or once every so many steps."""
    if not options:
        return
    weights: Weights | None = None
    epoch = 0
    for step in steps(pair, data, **options):
        # An epoch's end shows at the next one's first step; lazy parameters exist by then, too.
        due = (step.index + 1) % every == 0 if every else step.epoch != epoch
        weights = weights or PairWeights.of(pair, data).weights
        epoch = step.epoch
        if due:
            yield weights.vector()
    if weights is not None and not every:
        yield weights.vector()


class _Moments:
    """Running mean and squared deviations, and the last few deviations from the running mean."""

    def __init__(self, rank: int):
        self.along, self.rank = Mean(), rank
        self.deviations: list[Tensor] = []

    def add(self, vector: Tensor) -> None:
        """One more set of weights."""
        self.along.add(vector.double()[None])
        deviation = vector.double() - self.along.mean
        self.deviations = [*self.deviations, deviation][-self.rank :] if self.rank else []

    def distribution(self, like: Tensor) -> SwagWeights:
        """The normal of these moments; its shape does not depend on how many sets there were."""
        mean, variance = self.along.mean, self.along.squares / self.along.count
        missing = [torch.zeros_like(mean)] * (self.rank - len(self.deviations))
        columns = [*missing, *self.deviations]
        deviations = torch.stack(columns, 1) if columns else torch.zeros(len(mean), 0)
        # Zero columns stand for sets that were not there: the divisor counts those that were.
        known = max(len(self.deviations), 2) - 1
        deviations = deviations * ((max(self.rank, 2) - 1) / known) ** 0.5
        return SwagWeights(mean.to(like), variance.to(like), deviations.to(like))
