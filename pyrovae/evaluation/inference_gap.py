"""How much of the evidence the guide misses, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError
from pyrovae.evaluation.estimate import Estimate, LogMean, Mean
from pyrovae.evaluation.importance_weights import checked, joined
from pyrovae.evaluation.per_datum import of_each_datum
from pyrovae.evaluation.refinement import Change, log_weights, refined
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.scoring import Scorer, scorers
from pyrovae.sampling.tiles import draw_ranges

_STEP_DRAWS = 8  # of the gradient of one step

_GLOBAL_DRAWS = 16  # over which figures are averaged where the pair has global sites


class InferenceGap(NamedTuple):
    """The gap between evidence and ELBO and its two parts, and the three figures behind it, each an `Estimate` (rows,).

    `total = approximation + amortisation`, `approximation = evidence - refined`, `amortisation = refined - elbo`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> gap = pv.inference_gap(truth, truth.sample(4), steps=5, draws=50)
        >>> bool(gap.total.value.abs().max() < 0.1)  # its guide is the posterior
        True
    """

    total: Estimate
    approximation: Estimate
    amortisation: Estimate
    evidence: Estimate
    refined: Estimate
    elbo: Estimate

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


@in_turn
def inference_gap(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 512,
    steps: int = 300,
    full: bool = False,
    evidence: Estimate | torch.Tensor | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> InferenceGap:
    r"""Split the gap between evidence and ELBO into what the guide's family and what its amortisation cost.

    \[ \log p(x_n) - \mathcal L_n[q] = \underbrace{\log p(x_n) - \mathcal L_n[q^*_n]}_{\text{approximation}} +
    \underbrace{\mathcal L_n[q^*_n] - \mathcal L_n[q]}_{\text{amortisation}} \]

    \(q^*_n\) is the guide's own distribution of datum n, moved and stretched in unconstrained coordinates until its
    ELBO is highest, one change for each datum; the pair stays as it is. A normal distribution stays one: with a
    diagonal guide \(q^*\) is the best diagonal normal. `full=True` also lets the dimensions of a site's event mix.
    The evidence is that of draws from \(q^*\) weighted by importance, or one that is given. Where the pair has global
    sites w, all figures are averages over q(w) of those given w: the gap is that of local inference.

    Args:
        pair: any pair whose guide has local sites with pathwise gradients.
        *data: the arguments of model and guide, N rows.
        draws: draws for each datum and figure.
        steps: steps of the refinement.
        full: whether q* may correlate the dimensions of an event.
        evidence: evidence of each datum from elsewhere (`ais(...).lower`).
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `InferenceGap`. `total` is not negative in expectation; the parts are so as far as the refinement converged.

    Raises:
        ArgumentError: the guide has no local site, or one without pathwise gradient.

    References:
        Cremer et al., "Inference suboptimality in variational autoencoders" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> gap = pv.inference_gap(vae, torch.randn(8, 5), steps=50, draws=100)
        >>> bool(gap.amortisation.value.mean() > 0)  # the guide was never trained
        True
    """
    draws, steps = check_counts(draws=draws, steps=steps)
    sampler = of_each_datum(pair, data, named, seed, data_plate)
    found = []
    for scorer in scorers(sampler):
        if not scorer.sites:
            raise ArgumentError("the guide has no local site, and so no gap of local inference.")
        with sampler.use.quietly(seed_for(sampler.seed, "gap", scorer.rows.start)), validation(False):
            changes = refined(scorer, steps=steps, draws=_STEP_DRAWS, full=full, global_draws=_GLOBAL_DRAWS)
            after, own = _figures(scorer, draws, changes), _figures(scorer, draws, None)
        found.append([checked(estimate, scorer.rows) for estimate in (*after, own[1])])
    weighted, best, elbo = (joined(parts) for parts in zip(*found, strict=True))
    known = weighted if evidence is None else _given(evidence, weighted)
    return InferenceGap(_minus(known, elbo), _minus(known, best), _minus(best, elbo), known, best, elbo)


def _figures(scorer: Scorer, draws: int, changes: Mapping[str, Change] | None) -> tuple[Estimate, Estimate]:
    """Evidence and ELBO by draws of a changed guide, or of the guide as it is."""
    if not scorer.sampler.global_sites:
        return _given_shared(scorer, draws, None, changes)
    evidence, elbo, count = Mean(), Mean(), min(_GLOBAL_DRAWS, draws)
    for draw in range(count):
        found = _given_shared(scorer, -(-draws // count), scorer.shared(range(draw, draw + 1)), changes)
        evidence.add(found[0].value[None])
        elbo.add(found[1].value[None])
    return evidence.estimate(), elbo.estimate()


def _given_shared(
    scorer: Scorer, draws: int, shared: list[Any] | None, changes: Mapping[str, Change] | None
) -> tuple[Estimate, Estimate]:
    evidence, elbo = LogMean(), Mean()
    for part in draw_ranges(draws, scorer.sampler.tile_draws):
        terms = log_weights(scorer, len(part), shared, changes).cpu()
        evidence.add(terms)
        elbo.add(terms)
    return evidence.estimate(), elbo.estimate()


def _given(evidence: Estimate | torch.Tensor, like: Estimate) -> Estimate:
    value, error = evidence if isinstance(evidence, tuple) else (evidence, torch.zeros(()))
    value = torch.as_tensor(value).to(like.value)
    if value.shape != like.value.shape:
        raise ArgumentError(f"evidence has shape {tuple(value.shape)}; there are {len(like.value)} data.")
    return Estimate(value, torch.as_tensor(error).to(like.value).expand_as(value))


def _minus(one: Estimate, other: Estimate) -> Estimate:
    return Estimate(one.value - other.value, one.error.hypot(other.error))
