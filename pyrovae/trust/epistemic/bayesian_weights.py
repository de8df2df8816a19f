"""Bayesian weights around any pair, found on a few rows of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.data_plate import find_data_plate
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.numbers import check_count, check_positive
from pyrovae.pairs.pair import HasPair, wrappers
from pyrovae.pairs.structure import inspect
from pyrovae.pairs.trace import plates, run
from pyrovae.sampling.use import arguments
from pyrovae.trust.epistemic.choose_parameters import Chosen, likelihood_parameters, parameters_named
from pyrovae.trust.epistemic.few_rows import few_rows
from pyrovae.trust.epistemic.uncertain_weights import UncertainWeights, free_name
from pyrovae.trust.epistemic.weight_distributions import EnsembleWeights, NormalWeights
from pyrovae.trust.epistemic.weights import Weights
from pyrovae.trust.epistemic.whole_data import whole_size


def bayesian(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    size: int,
    parameters: Chosen | None = None,
    rank: int = 0,
    prior_scale: float = 1.0,
    scale: float = 0.01,
    data_plate: str | None = None,
) -> UncertainWeights:
    """See `pyrovae.epistemic.bayesian_weights`; this takes a few rows, of a pair whose parameters exist."""
    size, rank = check_count("size", size), check_count("rank", rank, least=0)
    prior_scale, scale = check_positive("prior_scale", prior_scale), check_positive("scale", scale)
    plate = data_plate or found_plate(pair, args, kwargs)
    weights = Weights.of(
        pair, args, kwargs, likelihood_parameters if parameters is None else parameters_named(parameters)
    )
    _check_no_posterior(pair, weights)
    distribution = NormalWeights(weights.vector(), rank=rank, prior_scale=prior_scale, scale=scale)
    site = free_name("weights", inspect(pair, args, kwargs, data_plate=plate).sites)
    return UncertainWeights(pair, weights, distribution, site=site, data_plate=plate, size=size)


def _check_no_posterior(pair: HasPair, weights: Weights) -> None:
    """Refuse a prior for what says how uncertain other weights are, which is no weight; members of an ensemble are."""
    for inner in wrappers(pair):
        if not isinstance(inner, UncertainWeights) or isinstance(inner.distribution, EnsembleWeights):
            continue
        known = {id(parameter) for parameter in inner.distribution.parameters()}
        for name, tensor in zip(weights.names, weights.tensors, strict=True):
            if id(tensor) in known:
                raise ArgumentError(
                    f"bayesian_weights: {name!r} is of the posterior of weights that are uncertain already, at the "
                    f"site {inner.site!r}, and no weight. Name others ({argument('parameters')}), or make the "
                    "posterior around the pair as it was before."
                )


def found_plate(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> str | None:
    """The data plate, which needs a size here: a global site is weighed against all data."""
    with isolated(0):
        traces = run(pair, args, kwargs)
        plate = find_data_plate(pair, args, kwargs, traces)
    if plate is None or plates(traces)[plate][0] == -1:
        raise PairError(
            "the pair has no plate that holds the rows of its data by their number, so a batch cannot be told from the "
            'whole data, against which a global site is weighed. Write pyro.plate("data", len(x)) around its local '
            "sites."
        )
    return plate


def bayesian_weights(
    pair: HasPair,
    /,
    *data: Any,
    parameters: Any = None,
    rank: int = 0,
    prior_scale: float = 1.0,
    scale: float = 0.01,
    size: int | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> HasPair:
    r"""Give weights of a pair a prior, and a normal posterior that `fit` trains.

    \[ w \sim \mathcal N(0, s^2 I), \qquad q(w) = \mathcal N(\mu, U U^\top + \operatorname{diag}(\sigma^2)) \]

    The other parameters stay as they are, and are trained along. The KL of w is weighed against the whole data, also
    where the pair's plate holds a batch.

    Args:
        pair: any pair. A trained one starts from its weights.
        *data: the arguments of model and guide; their number of rows is that of the whole data.
        parameters: patterns of names such as "decoder.*", or modules; left out, all that the observed sites depend on,
            given the latent ones: of a VAE, the decoder.
        rank: columns of U; 0 for a posterior of independent weights.
        prior_scale: s. 1 suits inputs of unit scale and layers of some tens of units; wide layers may want less.
        scale: σ to start from: small, so that training starts as that of single weights does.
        size: rows of the whole data, where `data` are some of them.
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **named: keyword arguments of model and guide.

    Returns:
        A pair with the global site `weights`, to be trained by `fit`. The given pair's own weights stay as they are.

    References:
        Blundell et al., "Weight uncertainty in neural networks" (2015).

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(200, 3) + 2
        >>> vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 2)))
        >>> pair = pv.epistemic.bayesian_weights(vae, x)
        >>> run = pv.fit(pair, x, epochs=80, learning_rate=0.05, seed=0, progress=False)
        >>> u = pv.uncertainty(pair, x, draws=(50, 20))["x"]
        >>> 0.001 < u.epistemic.mean() < 0.1
        tensor(True)
    """
    batch, rows = few_rows(pair, arguments(pair, data, named))
    size = whole_size(size, rows)
    options = {"parameters": parameters, "rank": rank, "prior_scale": prior_scale, "scale": scale}
    return bayesian(pair, *batch[:2], size=size, data_plate=data_plate, **options)
