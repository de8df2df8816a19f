"""Several pairs of one architecture, trained from different starts, as one pair."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Unpack

import torch

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.looks.isolation import forked_random, forked_store
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.training.fit_options import SeedlessKeywords
from pyrovae.training.fit_whole import fit_whole
from pyrovae.trust.epistemic.uncertain_weights import PairWeights, with_uncertain_weights
from pyrovae.trust.epistemic.weight_distributions import EnsembleWeights
from pyrovae.trust.epistemic.weights import Weights


def ensemble(
    make_pair: Callable[[], HasPair],
    data: Any,
    /,
    *,
    members: int = 5,
    seed: int = 0,
    **options: Unpack[SeedlessKeywords],
) -> HasPair:
    r"""Train several pairs from different starts; the global site is the number of the member.

    \[ k \sim \text{Uniform}\{1, \dots, K\}, \qquad p(x, z \mid k) = p_{\theta_k}(x, z), \quad q(z \mid x, k) =
    q_{\phi_k}(z \mid x) \]

    Args:
        make_pair: returns a new pair, of the same architecture each time.
        data: as in `fit`.
        members: K.
        seed: member k is made and trained with `seed + k`.
        **options: those of `fit`. Without any nothing is trained: a pair to load a saved ensemble into.

    Returns:
        A pair with the global site `member`. Its weights are copies; further training by `fit` trains a member
        drawn at random in each step.

    References:
        Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles" (2017).

    Examples:
        >>> import torch, pyrovae as pv
        >>> def new():
        ...     return pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pair = pv.epistemic.ensemble(new, torch.ones(100, 5), members=3, epochs=2, progress=False)
        >>> sorted(set(pv.uncertainty(pair, torch.ones(4, 5))))
        ['x']
    """
    members, seed = check_count("members", members, least=2), chosen_seed(seed)
    if "tracker" in options:
        raise ArgumentError(f"{argument('tracker')} follows one training, and these are {members}; leave it out.")
    first: PairWeights | None = None
    sets = []
    for number in range(members):
        # Pyro's store holds one pair under a name: all members but the first live in an empty one.
        with forked_store(empty=True) if number else nullcontext(), forked_random(seed + number):
            member = _trained(make_pair, data, seed + number, options)
            first = first or member
            _check_alike(first.weights, member.weights, number)
            sets.append((member.weights.vector(), [buffer.clone() for buffer in member.weights.buffers.values()]))
    assert first is not None
    vectors, buffers = zip(*sets, strict=True)
    distribution = EnsembleWeights(torch.stack(vectors), [torch.stack(values) for values in zip(*buffers, strict=True)])
    return with_uncertain_weights(first, distribution, "member")


def _trained(make_pair: Callable[[], HasPair], data: Any, seed: int, options: SeedlessKeywords) -> PairWeights:
    """A new pair, trained where there are options."""
    pair = make_pair()
    if options:
        fit_whole(pair, data, seed=seed, **options)
    return PairWeights.of(pair, data)


def _check_alike(one: Weights, other: Weights, number: int) -> None:
    shapes = [{name: t.shape for name, t in zip(w.names, w.tensors, strict=True)} for w in (one, other)]
    if shapes[0] != shapes[1]:
        raise PairError(
            f"member {number} has other parameters than member 0: make_pair must return the same architecture each "
            "time."
        )
