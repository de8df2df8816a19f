"""How uncertain a pair is of its observed sites, and what of: noise, latent sites, global sites."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_part, observed_wholes, whole_of
from pyrovae.trust.uncertainty_grid import Uncertainty, grid_size, grid_spread

logger = logging.getLogger("pyrovae")


NO_SOURCE = (
    "the pair has no global site, so nothing in it says how unsure its weights are: the epistemic part is NaN, not 0. "
    "pyrovae.epistemic makes a pair with such a site out of this one."
)


@in_turn
def uncertainty(
    pair: HasPair,
    /,
    *data: Any,
    draws: int | tuple[int, int] = 100,
    measure: str = "auto",
    sites: Collection[str] | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Uncertainty]:
    r"""Split the predictive uncertainty of each datum into noise, latent and epistemic parts.

    \[ \operatorname{Var}[x] = \underbrace{\mathbb E_{w,z} \operatorname{Var}[x \mid z, w]}_{\text{aleatoric}} +
    \underbrace{\mathbb E_w \operatorname{Var}_z \mathbb E[x \mid z, w]}_{\text{latent}} +
    \underbrace{\operatorname{Var}_w \mathbb E_z \mathbb E[x \mid z, w]}_{\text{epistemic}} \]

    with global sites w and local sites z from the guide. Where a site has classes, the same with entropies in nats:
    \( H[\bar p] = \mathbb E H[p_{zw}] + I(x; z \mid w) + I(x; w) \).

    Variances are those of the grid of draws, so the sum is exact. L inner draws for each global draw put
    `latent / L` into the spread between global draws: that much is moved back. An observed site that the model reads
    again (an autoregressive decoder) is given its data.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: (G, L): L draws of the local sites for each of G draws of the global ones. A number is L, with G = 20
            where there are global sites; it is G where there are no local ones.
        measure: "variance", "entropy" (for Bernoulli and categorical sites), or "auto": entropies where a site has
            classes.
        sites: which observed sites; left out, all.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: Uncertainty}` on the CPU. A site without a mean and a variance is left out, with a warning in
        the log.

    References:
        Depeweg et al., "Decomposition of uncertainty in Bayesian deep learning" (2018); Houlsby et al., "Bayesian
        active learning" (2011).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> u = pv.uncertainty(truth, torch.tensor([3.0, 5.0]), draws=500)["x"]  # posterior: Gamma(10, 3)
        >>> u.aleatoric.mean(), u.epistemic.mean()  # 10 / 3 and 10 / 9
        (tensor(3.2962), tensor(1.1025))
    """
    check_measure(measure)
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    wanted = observed(sampler, sites)
    shared, inner = grid_size(sampler, draws)
    sampler.use.tell_of_unguided()
    if not sampler.global_sites:
        logger.warning("%s", NO_SOURCE)
    found = grid_spread(sampler, wanted, shared, inner, measure)
    return {whole_of(sampler.structure, name): spread.summary() for name, spread in found.items()}


def check_measure(measure: str) -> None:
    """Refuse what is no measure."""
    if measure not in ("auto", "variance", "entropy"):
        raise ArgumentError(f"measure={measure!r}; give 'variance', 'entropy' or 'auto'.")


def observed(sampler: Sampler, sites: Collection[str] | None) -> list[str]:
    """The observed sites that are asked for."""
    sampler.use.tell_of_other_rows(means=True)
    structure = sampler.structure
    there = structure.named("observed")
    if sites is not None:
        sites = {observed_part(structure, name) for name in ([sites] if isinstance(sites, str) else sites)}
    if unknown := sorted((sites or set()) - set(there)):
        known = ", ".join(map(repr, observed_wholes(structure)))
        raise ArgumentError(f"{unknown[0]!r} is no observed site of this pair; its observed sites are {known}.")
    if not there:
        raise PairError("the pair has no observed site, so there is nothing to be uncertain of.")
    return [name for name in there if sites is None or name in sites]
