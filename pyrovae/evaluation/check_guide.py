"""A guide held against NUTS, which needs no guide: for pairs small enough for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size
from pyro.poutine.messenger import Messenger
from tqdm import tqdm

from pyrovae.checks.exceptions import first_sentence
from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.masks import hides_a_part
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.subsample_scale import subsample_scale
from pyrovae.pairs.trace import samples
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.programs import traced
from pyrovae.sampling.runs import plate_scale
from pyrovae.sampling.sampler import Sampler


class GuideAgreement(NamedTuple):
    """A site's posterior by the guide and by NUTS, each tensor of shape (*plates, *event).

    Attributes:
        mean: of the guide's draws.
        scale: their standard deviation.
        nuts_mean: of NUTS' draws.
        nuts_scale: their standard deviation.
        error: the Monte Carlo error of `mean - nuts_mean`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.GuideAgreement(*torch.tensor([1.5, 1.0, 1.0, 1.0, 0.1])).shift
        tensor(0.5000)
    """

    mean: torch.Tensor
    scale: torch.Tensor
    nuts_mean: torch.Tensor
    nuts_scale: torch.Tensor
    error: torch.Tensor

    @property
    def shift(self) -> torch.Tensor:
        """By how many of NUTS' standard deviations the guide's mean is off."""
        return (self.mean - self.nuts_mean) / self.nuts_scale

    @property
    def ratio(self) -> torch.Tensor:
        """The guide's standard deviation as a part of NUTS'; a mean-field guide's is often below 1."""
        return self.scale / self.nuts_scale


@in_turn
def check_guide(
    pair: HasPair,
    /,
    *data: Any,
    draws: int = 500,
    warmup: int = 300,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, GuideAgreement]:
    r"""Compare the guide's moments with those of NUTS on the same model, data and trained parameters.

    \[ \mathbb E_q[z], \operatorname{sd}_q[z] \quad\text{beside}\quad
    \mathbb E_p[z \mid x], \operatorname{sd}_p[z \mid x] \]

    The cost grows with the number of latent values (local sites count once a row): tens of rows take seconds.

    Args:
        pair: any pair whose latent sites are continuous, or enumerated.
        *data: the arguments of model and guide; all rows that the guide was trained on, where sites are global.
        draws: how many, of each.
        warmup: steps in which NUTS finds its step size, not kept.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{site: GuideAgreement}` for the latent sites that NUTS draws.

    Raises:
        PairError: NUTS does not run on this model.
        DataError: a mask hides a part of a latent site.

    References:
        Hoffman and Gelman, "The No-U-Turn sampler" (2014).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> found = pv.check_guide(truth, truth.sample(20), draws=200, warmup=100)["rate"]
        >>> bool((found.mean - found.nuts_mean).abs() < 4 * found.error)
        True
    """
    draws, warmup = check_counts(draws=draws, warmup=warmup)
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    if sampler.rows is None:
        raise ArgumentError("NUTS works on all data at once; give arrays in place of a loader.")
    if not sampler.structure.named("latent"):
        raise PairError("the pair has no latent site that a guide draws, so there is nothing to compare.")
    reference = _by_nuts(sampler, draws, warmup)
    if not reference:
        raise PairError("all latent sites of the pair are discrete, and NUTS sums those out: nothing is to compare.")
    guide = {site: _values(sampler, draws, site) for site in reference}
    return {site: _agreement(guide[site], reference[site]) for site in reference}


def _values(sampler: Sampler, draws: int, site: str) -> torch.Tensor:
    axis = sampler.layout.place(("model", site)).axis
    rows: dict[int, list[torch.Tensor]] = {}
    for tile in sampler.tiles(draws):
        rows.setdefault(tile.rows.start, []).append(tile.value(site).cpu())
    parts = [torch.cat(tiles) for tiles in rows.values()]
    return parts[0] if axis is None else torch.cat(parts, axis)


@contextmanager
def _no_monitor() -> Iterator[None]:
    """A progress bar, shown or not, starts a thread that stays."""
    before, tqdm.monitor_interval = tqdm.monitor_interval, 0
    try:
        yield
    finally:
        tqdm.monitor_interval = before


def _by_nuts(sampler: Sampler, draws: int, warmup: int) -> dict[str, torch.Tensor]:
    batch: Batch = next(sampler.use.placed_batches(sampler.rows))
    _check_takes(sampler, batch)
    with (
        _no_monitor(),
        isolated(sampler.seed),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            kernel = NUTS(_Unweighted()(sampler.model_on(batch)))
            chain = MCMC(kernel, num_samples=draws, warmup_steps=warmup, num_chains=1, disable_progbar=True)
            chain.run(*batch.args, **batch.kwargs)
        except Exception as error:
            words = first_sentence(str(error))
            raise PairError(f"NUTS does not run on this model: {type(error).__name__}: {words}") from error
    latent = sampler.structure.named("latent")
    return {site: value.detach().cpu() for site, value in chain.get_samples().items() if site in latent}


class _Unweighted(Messenger):
    """Without what the author scales: the posterior is that of the model, as in all figures."""

    def _pyro_sample(self, msg) -> None:
        msg["scale"] = subsample_scale(msg)


def _check_takes(sampler: Sampler, batch: Batch) -> None:
    """Refuse a part of the data of a plate whose size is written into it, and latents that a mask hides."""
    with sampler.use.quietly(0):
        nodes = dict(samples(traced(sampler.model_on(batch), batch)))
    scale = max((plate_scale(node, sampler.structure.data_plate) for node in nodes.values()), default=1.0)
    if scale != 1:  # the model scales what it is given
        raise ArgumentError(
            f"the data plate's size is {scale:g} times the {batch.rows} rows that were given, and the guide's global "
            "sites are about all of them; give all rows."
        )
    for name in sampler.structure.named("latent"):
        if name in nodes and hides_a_part(nodes[name]):
            raise DataError(
                f"a mask hides a part of {name!r}: what is hidden has no density, and NUTS would drift there. "
                "Give rows of which nothing latent is masked."
            )


def _agreement(guide: torch.Tensor, reference: torch.Tensor) -> GuideAgreement:
    independent = effective_sample_size(reference.double().unsqueeze(0), 0, 1).clamp(1, len(reference))
    independent = independent.nan_to_num(1.0)  # of what never moves, such as the zeros of a triangular matrix
    variances = guide.double().var(0) / len(guide) + reference.double().var(0) / independent
    moments = (guide.mean(0), guide.std(0), reference.mean(0), reference.std(0))
    return GuideAgreement(*moments, variances.sqrt().to(guide))
