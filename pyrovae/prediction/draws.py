"""Draws of a pair's sites: posterior, prior, predictions, and the likelihood of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pyrovae.errors import PairError
from pyrovae.pairs.implicit_draws import sites_without_density
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.drawn import Sites, drawn, sampler_for
from pyrovae.prediction.output import Output, collect
from pyrovae.prediction.readings import (
    SiteRequest,
    log_probs_of,
)
from pyrovae.prediction.reducers import MEMORY
from pyrovae.sampling.sampler import Sampler

_DRAWS = 100


@in_turn
def posterior(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = _DRAWS,
    sites: Sites = None,
    reduce: Any = None,
    out: Path | str | None = None,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    memory: int = MEMORY,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Any]:
    """Draw what is not observed, given the data.

    `w ~ q(w)`, `z_n ~ q(z_n | x_n, w)`; sites that the model enumerates from `p(k_n | z_n, x_n, w)`.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: how many.
        sites: which; left out, all that are latent or deterministic.
        reduce: left out, the draws themselves; "mean", "moments", a quantile or a tuple of them, or
            ("moments", 0.05, 0.95): what is kept of the draws as they come, so that they need no memory.
        out: a new file ending in .nc (netCDF) or a folder ending in .zarr, to which the results are written as they
            come; what is returned reads them from there.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        memory: bytes that draws which wait for their quantiles may take. Less takes longer, and changes no bit.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{site: (draws, *plates, *event)}`, `(draws, *event)` for sites outside all plates; reduced,
        `{site: (*plates, *event)}`, a `Moments`, `(quantiles, *plates, *event)` or a `Summary`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.posterior(vae, torch.ones(3, 5), draws=10)["z"].shape
        torch.Size([10, 3, 2])
    """
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    sampler.use.tell_of_unguided()
    return drawn(sampler, draws, "posterior", sites, output=Output(reduce, out, device, memory))


@in_turn
def posterior_predictive(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = _DRAWS,
    sites: Sites = None,
    mean: bool = False,
    reduce: Any = None,
    out: Path | str | None = None,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    memory: int = MEMORY,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Any]:
    """Draw the observed sites anew, given the data.

    `w ~ q(w)`, `z_n ~ q(z_n | x_n, w)`, `x'_n ~ p(x'_n | z_n, w)`: data as they could have been. The draws of z
    are those of `posterior` with the same seed.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: how many.
        sites: which; left out, all that are observed or deterministic. Of a site that an `obs_mask` parts, the
            whole and the part that no data are given for.
        mean: `E[x | z, w]` (of a categorical, the most probable class) in place of draws from the likelihood.
        reduce: what is kept of the draws as they come; see `posterior`.
        out: a new file or folder for the results; see `posterior`.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        memory: for quantiles; see `posterior`.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{site: (draws, *plates, *event)}`, or what `reduce` makes of it; see `posterior`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.posterior_predictive(vae, torch.ones(3, 5), draws=10)["x"].shape
        torch.Size([10, 3, 5])
        >>> rates = pv.posterior_predictive(vae, torch.ones(3, 5), draws=10, mean=True, reduce="moments")["x"]
        >>> rates.mean.shape, rates.scale.shape
        (torch.Size([3, 5]), torch.Size([3, 5]))
    """
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    sampler.use.tell_of_unguided()
    return drawn(sampler, draws, "predictive", sites, mean=mean, output=Output(reduce, out, device, memory))


@in_turn
def prior(
    pair: HasPair,
    count_or_data: Any = None,
    /,
    *more: Any,
    draws: int = _DRAWS,
    sites: Sites = None,
    reduce: Any = None,
    out: Path | str | None = None,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    memory: int = MEMORY,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Any]:
    """Draw what is not observed from the model alone.

    `w ~ p(w)`, `z_n ~ p(z_n | w)`.

    Args:
        pair: any pair.
        count_or_data: how many data, for pairs that know their own shapes (`VAE`, recipes); for any other pair
            data of the shape wanted, whose covariates are used and whose observed values are not.
        *more: further arguments of the model.
        draws: how many.
        sites: which; left out, all that are latent or deterministic.
        reduce: what is kept of the draws as they come; see `posterior`.
        out: a new file or folder for the results; see `posterior`.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        memory: for quantiles; see `posterior`.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of the model.

    Returns:
        `{site: (draws, *plates, *event)}`, or what `reduce` makes of it; see `posterior`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.prior(vae, 3, draws=10)["z"].shape
        torch.Size([10, 3, 2])
    """
    sampler = sampler_for(pair, count_or_data, more, named, seed=seed, data_plate=data_plate)
    return drawn(sampler, draws, "prior", sites, output=Output(reduce, out, device, memory))


@in_turn
def prior_predictive(
    pair: HasPair,
    count_or_data: Any = None,
    /,
    *more: Any,
    draws: int = _DRAWS,
    sites: Sites = None,
    mean: bool = False,
    reduce: Any = None,
    out: Path | str | None = None,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    memory: int = MEMORY,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Any]:
    """Draw data from the model alone: what it held for possible before it saw any.

    `w ~ p(w)`, `z_n ~ p(z_n | w)`, `x_n ~ p(x_n | z_n, w)`. Parameters that were trained stay as they are; `generate`
    also draws w from the guide.

    Args:
        pair: any pair.
        count_or_data: a number of data or data, as for `prior`.
        *more: further arguments of the model.
        draws: how many.
        sites: which; left out, all that are observed or deterministic.
        mean: `E[x | z, w]` in place of draws from the likelihood.
        reduce: what is kept of the draws as they come; see `posterior`.
        out: a new file or folder for the results; see `posterior`.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        memory: for quantiles; see `posterior`.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of the model.

    Returns:
        `{site: (draws, *plates, *event)}`, or what `reduce` makes of it; see `posterior`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.prior_predictive(vae, 3, draws=10)["x"].shape
        torch.Size([10, 3, 5])
    """
    sampler = sampler_for(pair, count_or_data, more, named, seed=seed, data_plate=data_plate)
    return drawn(sampler, draws, "prior", sites, predicted=True, mean=mean, output=Output(reduce, out, device, memory))


@in_turn
def log_likelihood(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = _DRAWS,
    sites: Sites = None,
    reduce: Any = None,
    out: Path | str | None = None,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    memory: int = MEMORY,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, Any]:
    """The log-likelihood of each observation under the draws of `posterior` with the same seed.

    `log p(x_n | z_n, w)`, with masks (a masked entry counts 0) and the author's scales, without a data plate's scale.
    Each datum is given its own latent here, so the figures are not what a leave-one-out estimate needs.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: how many.
        sites: which; left out, all that are observed.
        reduce: what is kept of the draws as they come; see `posterior`.
        out: a new file or folder for the results; see `posterior`.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        memory: for quantiles; see `posterior`.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: (draws, *plates)}`, or what `reduce` makes of it; see `posterior`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.log_likelihood(vae, torch.ones(3, 5), draws=10)["x"].shape
        torch.Size([10, 3])
    """
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    request = SiteRequest("posterior", log_probs_of(sampler.structure, sites))
    none = sites_without_density(sampler.use.posterior_run)
    if words := next((none[reading.site] for reading in request.readings if reading.site in none), ""):
        raise PairError(words)
    return collect(sampler, draws, request, Output(reduce, out, device, memory))
