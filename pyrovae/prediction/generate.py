"""New data, and data passed through guide and model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from pyrovae.data.rows_of_frames import frames_among
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.drawn import drawn, sampler_for
from pyrovae.prediction.drawn_anew import drawn_anew
from pyrovae.prediction.framed import framed
from pyrovae.prediction.output import Output
from pyrovae.prediction.readings import SiteRequest, predicted_sites, rows_first, unobserved_sites, values_of
from pyrovae.prediction.rejection import rejected
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_wholes


@in_turn
def generate(
    pair: HasPair,
    count_or_data: Any = None,
    /,
    *more: Any,
    draws: int | None = None,
    mean: bool = False,
    new: Collection[str] | str = (),
    discriminator: Any = None,
    seed: int | None = None,
    device: str | torch.device | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> Any:
    """Draw new data from the model, global sites from the guide.

    `w ~ q(w)`, `z_n ~ p(z_n | w)`, `x_n ~ p(x_n | z_n, w)`; with `mean=True` `E[x_n | z_n, w]` at observed sites.

    Args:
        pair: any pair.
        count_or_data: how many data, for pairs that know their own shapes (`VAE`, recipes); for any other
            pair data of the shape wanted, whose covariates are used and whose observed values are not.
        *more: further arguments of the model.
        draws: how many sets of data; left out, one, without an axis for it.
        mean: the mean of the likelihood (of a categorical, the most probable class) in place of a draw from it.
        new: sites that rows share, or the plate of such sites, that are drawn from the model as well: groups (places,
            patients, batches) that the guide has never seen. Rows that name the same group share its new effect.
        discriminator: what `pv.discriminator` found: for each row draws are made until one is kept, by the ratio of
            real to drawn density. The share of draws that were kept is logged.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of the model.

    Returns:
        `{site: (rows, *event)}` for latent, observed and deterministic sites, rows first whatever the plate's dim;
        `(draws, *plates, *event)` where draws are asked for. Of a pair that carries a schema a frame, or a list of
        them; with frames in the place of the table's site where the pair observes other things beside it.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> {site: tuple(value.shape) for site, value in pv.generate(vae, 10, seed=0).items()}
        {'z': (10, 2), 'x': (10, 5)}
    """
    sampler = sampler_for(pair, count_or_data, more, named, seed=seed, data_plate=data_plate)
    if new:
        anew = drawn_anew(sampler, new)
        sampler = sampler_for(anew, count_or_data, more, named, seed=seed, data_plate=data_plate)
    sites = dict.fromkeys([*unobserved_sites(sampler.structure), *predicted_sites(sampler.structure)])
    if discriminator is not None:
        found = _kept(sampler, discriminator, list(sites), draws, mean=mean, device=device)
    else:
        found = drawn(
            sampler, 1 if draws is None else draws, "generative", list(sites), mean=mean, output=Output(device=device)
        )
        found = found if draws is not None else only(found, sampler)
    given = [*frames_among((count_or_data, *more)).values(), *frames_among(named).values()]
    return framed(sampler, found, form=given[0] if given else None, mean=mean)


def _kept(
    sampler: Sampler, discriminator: Any, sites: list[str], draws: int | None, *, mean: bool, device: Any
) -> dict[str, torch.Tensor]:
    """One set of data that a discriminator takes for real."""
    if draws is not None:
        raise ArgumentError(
            f"{argument('draws', draws)} and {argument('discriminator')}: rejection makes one set of data; leave draws "
            "out, and ask for more rows, or again with another seed."
        )
    request = SiteRequest("generative", values_of(sampler.structure, sites, mean=mean))
    return {site: value.to(device or "cpu") for site, value in rejected(sampler, discriminator, request).items()}


@in_turn
def reconstruct(
    pair: HasPair,
    /,
    *data: Any,
    draws: int | None = None,
    mean: bool = True,
    seed: int | None = 0,
    device: str | torch.device | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> Any:
    """Pass data through guide and model.

    `z ~ q(z | x)`, then `E[x | z]` (or with `mean=False` a draw `x ~ p(x | z)`) at every observed site.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: how many times; left out, once, without an axis for it.
        mean: the mean of the likelihood (of a categorical, the most probable class) in place of a draw from it.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        device: where the results are; left out, the CPU.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: (rows, *event)}`, rows first whatever the plate's dim; `(draws, *plates, *event)` where
        draws are asked for. Of a frame, as in `generate`, a frame.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.reconstruct(vae, torch.ones(3, 5))["x"].shape
        torch.Size([3, 5])
    """
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    sampler.use.tell_of_unguided()
    sites = observed_wholes(sampler.structure)
    # With means, data that one observed site has from another stay what they are.
    kind = "posterior" if mean else "predictive"
    found = drawn(sampler, 1 if draws is None else draws, kind, sites, mean=mean, output=Output(device=device))
    found = found if draws is not None else only(found, sampler)
    given = [*frames_among(data).values(), *frames_among(named).values()]
    return framed(sampler, found, like=given[0], mean=mean) if len(given) == 1 else found


def only(found: dict[str, torch.Tensor], sampler: Sampler) -> dict[str, torch.Tensor]:
    """A single draw, rows first."""
    return {site: rows_first(value[0], sampler.layout.place(("model", site)).axis) for site, value in found.items()}
