"""Whether a guide finds again what data were made from: simulation-based calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs.numbers import check_counts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.calibration_curves import draw_ranks
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.observed_arguments import with_values
from pyrovae.sampling.programs import Kind
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import rows_second, seen_in
from pyrovae.sampling.tiles import Tile
from pyrovae.trust.amortisation import changed_sites
from pyrovae.trust.ranks import Ranks, rank

LIKELIHOOD = "log-likelihood"


class SimulationBasedCalibration(NamedTuple):
    """Ranks of what data were made from, among what the guide draws for these data.

    Attributes:
        sites: of each latent site, `Ranks` of values (simulations * rows, *event), (simulations, *event) where global.
        log_likelihood: of log p(x | z), which a guide that ignores the data fails though its sites pass.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 2), torch.zeros(3), 0.5)
        >>> result = pv.simulation_based_calibration(truth, truth.sample(100, seed=0), simulations=3, draws=50)
        >>> result.sites["z"].values.shape, result.troubled
        (torch.Size([300, 2]), False)
    """

    sites: dict[str, Ranks]
    log_likelihood: Ranks

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @property
    def troubled(self) -> bool:
        """Whether any ranks leave their band."""
        return any(bool(ranks.outside.any()) for ranks in self._all().values())

    @property
    def verdict(self) -> str:
        """What the ranks say, in words."""
        return "; ".join(f"{name}: {ranks.verdict}" for name, ranks in self._all().items())

    def plot(self) -> Any:
        """Draw each site's ranks, less the uniform ones, with the band.

        Returns:
            A matplotlib `Figure`.
        """
        figure, axes = blank_figure(len(self.sites) + 1)
        for axis, (name, ranks) in zip(axes, self._all().items(), strict=True):
            draw_ranks(axis, ranks.points, ranks.share, ranks.lower, ranks.upper)
            axis.set_title(name)
        return figure

    def _all(self) -> dict[str, Ranks]:
        return {**self.sites, LIKELIHOOD: self.log_likelihood}


@in_turn
def simulation_based_calibration(
    pair: HasPair,
    /,
    *data: Any,
    simulations: int = 10,
    draws: int = 100,
    refit: Callable[..., HasPair] | None = None,
    level: float = 0.95,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> SimulationBasedCalibration:
    r"""Draw data from the model, and see where their latent values stand among the guide's draws.

    \[ (z, x) \sim p(z, x), \quad z_1 \dots z_S \sim q(z \mid x), \quad \text{rank of } z \text{ among } z_s
    \;\sim\; \text{Uniform if } q(z \mid x) = p(z \mid x) \]

    Local sites are drawn from the model given the global ones. Global sites are drawn from their prior and ranked
    where the guide draws them by looking at the data; where it has learned them from one data set, data are simulated
    with what it draws, and global sites are not ranked, unless `refit` makes a guide for each simulated data set.

    Args:
        pair: any pair whose observed values are its arguments, as they are.
        *data: the arguments of model and guide, N rows, for shapes and covariates; observed values are not used.
        simulations: how many data sets of N rows are simulated.
        draws: of the guide, for each of them.
        refit: called with each simulated data set as the model would be; returns a pair with the guide to be judged.
        level: of the bands, over all points and all dimensions of a site.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several could be.
        **named: keyword arguments of model and guide.

    Returns:
        A `SimulationBasedCalibration`.

    Raises:
        PairError: the pair computes what it observes from its arguments, or its model has a factor, so that draws of
            the model are not draws of its joint density.

    References:
        Talts et al., "Validating Bayesian inference algorithms with simulation-based calibration" (2018); Modrák et
        al., "Simulation-based calibration checking for Bayesian computation" (2023), on the log-likelihood.

    Examples:
        >>> import torch, pyro, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> def narrow(x):
        ...     posterior = truth.posterior(x)
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", pyro.distributions.Normal(posterior.mean, 0.1).to_event(1))
        >>> pair = pv.Pair(truth.model, narrow)
        >>> pv.simulation_based_calibration(pair, truth.sample(300, seed=0)).sites["z"].verdict
        'draws are too narrow'
    """
    simulations, draws = check_counts(simulations=simulations, draws=draws)
    if refit is not None and not callable(refit):
        raise ArgumentError(f"refit={refit!r}; give a function that takes simulated data and returns a pair.")
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    _check_joint(sampler)
    plan = _plan(sampler, refit is not None)
    found: dict[str, list[torch.Tensor]] = {}
    for number in range(simulations):
        ranks = _simulated(sampler.reseeded(seed_for(sampler.seed, "simulation", number)), plan, draws, refit)
        for name, values in ranks.items():
            found.setdefault(name, []).append(values)
    ranks = {name: Ranks.of(torch.cat(values), level=level) for name, values in found.items()}
    likelihood = ranks.pop(LIKELIHOOD)
    return SimulationBasedCalibration(ranks, likelihood)


class SimulationPlan(NamedTuple):
    """From what data are simulated, and which sites are ranked."""

    kind: Kind
    sites: list[str]


def _plan(sampler: Sampler, refits: bool) -> SimulationPlan:
    wanted = [*sampler.structure.named("latent"), *sampler.structure.named("enumerated")]
    learned = [name for name in wanted if name in sampler.global_sites]
    if not refits and sampler.found.per_row:
        raise PairError(
            "the guide has a parameter for each row of the data that it was trained on, so it has none for simulated "
            "rows. Say how to make a guide for other data: refit=lambda x: pv.fit(new_pair(), x, ...).pair."
        )
    if refits or set(learned) <= set(_amortised(sampler)):
        learned = []
    ranked = [name for name in wanted if name not in learned]
    if not ranked:
        raise PairError(
            "there is nothing to rank: the pair has no latent site"
            if not wanted
            else f"the guide has learned {', '.join(map(repr, learned))} from one data set and does not look at the "
            "data that it is given. Say how to make a guide for other data: refit=lambda x: pv.fit(new_pair(), x, "
            "...).pair."
        )
    return SimulationPlan("generative" if learned else "prior", ranked)


@torch.no_grad()
def _amortised(sampler: Sampler) -> list[str]:
    """Sites that the guide draws from another distribution for other data."""
    batch = next(sampler.tiles(1)).batch
    other = _written(sampler, batch, sampler.single(batch, "prior"))
    return changed_sites(sampler.single(batch), sampler.single(other))


def _check_joint(sampler: Sampler) -> None:
    factors = sampler.structure.named("factor")
    if factors:
        raise PairError(
            f"the model has a factor ({', '.join(map(repr, factors))}): its draws are not draws of its joint density, "
            "so ranks among the guide's draws would not be uniform even for the exact posterior."
        )


class SimulatedData(NamedTuple):
    """What one data set was made from: values and what of them counts, (rows, *rest); log p(x | z), (rows,)."""

    values: dict[str, torch.Tensor]
    seen: dict[str, torch.Tensor]
    log_likelihood: torch.Tensor


@torch.no_grad()
def _simulated(
    sampler: Sampler, plan: SimulationPlan, draws: int, refit: Callable[..., HasPair] | None
) -> dict[str, torch.Tensor]:
    """Ranks for one simulated data set, {site: (rows, *event)}."""
    tiles = list(sampler.tiles(1, plan.kind))
    args, kwargs = _joined([_written(sampler, tile.batch, tile.runs[0]) for tile in tiles])
    pair = sampler.use.pair
    if refit is not None:
        with torch.enable_grad():
            pair = refit(*args, **kwargs)
        if not isinstance(pair, HasPair):
            raise ArgumentError(f"refit returned a {type(pair).__name__}; it has to return a pair with the guide.")
    seed, plate = seed_for(sampler.seed, "guide"), sampler.structure.data_plate
    return _ranked(Sampler.of(pair, args, kwargs, seed=seed, data_plate=plate), _truth(sampler, tiles, plan), draws)


def _written(sampler: Sampler, batch: Batch, run: Run) -> Batch:
    return with_values(sampler, batch, {site: run.value(site)[0] for site in sampler.structure.named("observed")})


def _joined(batches: list[Batch]) -> tuple[tuple, dict[str, torch.Tensor]]:
    leaves = {name: torch.cat([batch.leaves[name] for batch in batches]) for name in batches[0].leaves}
    return Batch.of(leaves)[:2]


def _truth(sampler: Sampler, tiles: list[Tile], plan: SimulationPlan) -> SimulatedData:
    values, seen = {}, {}
    for name in plan.sites:
        own = tiles if sampler.layout.place(("model", name)).axis is not None else tiles[:1]
        values[name] = torch.cat([rows_second(sampler, tile.value(name), name)[0] for tile in own])
        seen[name] = torch.cat([rows_second(sampler, seen_in(tile.runs[0], name), name)[0] for tile in own])
    return SimulatedData(values, seen, torch.cat([_log_likelihood(sampler, tile)[0] for tile in tiles]))


def _ranked(judged: Sampler, truth: SimulatedData, draws: int) -> dict[str, torch.Tensor]:
    """Ranks of the truth among draws of the guide."""
    below = {name: torch.zeros(value.shape, device=value.device) for name, value in truth.values.items()}
    equal = {name: torch.zeros_like(count) for name, count in below.items()}
    likelihood = truth.log_likelihood.new_zeros(draws, len(truth.log_likelihood))
    for tile in judged.tiles(draws):
        rows = slice(tile.rows.start, tile.rows.stop)
        likelihood[tile.draws.start : tile.draws.stop, rows] = _log_likelihood(judged, tile)
        for name, value in truth.values.items():
            drawn = rows_second(judged, tile.value(name), name)
            place = rows if judged.layout.place(("model", name)).axis is not None else slice(0, 1)
            if place.start == rows.start:  # once for each tile of rows; a global site with the first
                below[name][place] += (drawn < value[place]).sum(0)
                equal[name][place] += (drawn == value[place]).sum(0)
    with judged.use.quietly(seed_for(judged.seed, "ranks")):
        ranks = {name: rank(value, below[name], equal[name], draws) for name, value in truth.values.items()}
        ranks = {name: torch.where(truth.seen[name], value, torch.nan) for name, value in ranks.items()}
        ranks[LIKELIHOOD] = likelihood_ranks(judged, truth, likelihood)
    return {name: value.cpu() for name, value in ranks.items()}


def likelihood_ranks(judged: Sampler, truth: SimulatedData, drawn: torch.Tensor) -> torch.Tensor:
    """One rank a row; one in all where a global site is ranked, since rows then depend on each other."""
    true = truth.log_likelihood
    if set(truth.values) & set(judged.global_sites):
        true, drawn = true.sum(0, keepdim=True), drawn.sum(1, keepdim=True)
    # The same latent values give the same likelihood up to rounding, which must not decide between them.
    equal = torch.isclose(drawn, true, rtol=1e-5, atol=1e-6)
    return rank(true, ((drawn < true) & ~equal).sum(0), equal.sum(0), len(drawn))


def _log_likelihood(sampler: Sampler, tile: Tile) -> torch.Tensor:
    """log p(x | z) of each row, (draws, rows)."""
    terms = [tile.per_datum(site).double() for site in sampler.structure.named("observed")]
    rows = len(tile.rows)
    return sum((term if term.ndim == 2 else term[:, None] / rows for term in terms), torch.zeros(1, rows))
