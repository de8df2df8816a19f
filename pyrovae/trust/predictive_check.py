"""Does a pair draw data like those it was given: statistics of the data beside those of drawn data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, Literal, NamedTuple

import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.plots.predictive_statistics import plot_test_statistics
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.site_rows import observed_in, rows_second, seen_in
from pyrovae.sampling.whole_sites import given_sites, whole_of

Statistic = Callable[[torch.Tensor], Any]

Latents = Literal["new", "posterior"]

_TOGETHER = 2**24  # numbers of drawn data sets that are held at once: 64 MiB in single precision

_LEVEL = 0.05  # of all statistics of a site together


def _deviation(x: torch.Tensor) -> torch.Tensor:
    return (x - x.nanmean()).square().nanmean().sqrt()


def _of_rows(x: torch.Tensor) -> torch.Tensor:
    return _deviation(x.reshape(len(x), -1).nanmean(1))


def _smallest(x: torch.Tensor) -> torch.Tensor:
    return x.nan_to_num(nan=torch.inf).min()


def _largest(x: torch.Tensor) -> torch.Tensor:
    return x.nan_to_num(nan=-torch.inf).max()


STATISTICS: dict[str, Statistic] = {
    "mean": torch.nanmean,
    "standard deviation": _deviation,
    "deviation of row means": _of_rows,
    "smallest": _smallest,
    "largest": _largest,
}


class PredictiveCheck(NamedTuple):
    """Statistics of an observed site, of the data and of data sets that the pair drew.

    Attributes:
        names: of the statistics.
        observed: of the data, (statistics,).
        drawn: of the drawn data sets, (statistics, draws).
        chance: the p-value of each: how often a drawn data set lies as far out as the data, to either side,
            (statistics,).

    Examples:
        >>> import torch, pyrovae as pv
        >>> right, wrong = (pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), scale) for scale in (0.5, 2.0))
        >>> pv.predictive_check(wrong, right.sample(200, seed=0))["x"].verdict[:24]
        "'standard deviation' of "
    """

    names: tuple[str, ...]
    observed: torch.Tensor
    drawn: torch.Tensor
    chance: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)

    @property
    def verdict(self) -> str:
        """Which statistics the drawn data do not have, at 5 per cent for all of them together."""
        level, draws = _LEVEL / len(self.names), self.drawn.shape[1]
        if 2 / (1 + draws) >= level:
            return (
                f"{draws} drawn data sets are too few to tell at 5 per cent: take "
                f"{argument('draws', int(2 / level) + 1)} or more."
            )
        unknown = [name for name, one in zip(self.names, self.chance, strict=True) if bool(one.isnan())]
        lost = f" Nothing is said of {', '.join(map(repr, unknown))}: not finite in the data or in a draw."
        apart = [self._words(number) for number, one in enumerate(self.chance) if float(one) < level]
        if not apart and len(unknown) < len(self.names):
            apart = ["The drawn data have the statistics of the data, as far as these draws can tell."]
        return (" ".join(apart) + (lost if unknown else "")).strip()

    def _words(self, number: int) -> str:
        own, others = float(self.observed[number]), self.drawn[number]
        side = "above" if own > float(others.median()) else "below"
        return (
            f"{self.names[number]!r} of the data is {own:.4g}, {side} the drawn ones ({float(others.min()):.4g} to "
            f"{float(others.max()):.4g})."
        )

    def plot(self) -> Any:
        """Draw each statistic's histogram, and the data's own.

        Returns:
            A matplotlib `Figure`.
        """
        return plot_test_statistics(self.names, self.observed, self.drawn, self.chance)


@in_turn
@torch.no_grad()
def predictive_check(
    pair: HasPair,
    /,
    *data: Any,
    statistics: Mapping[str, Statistic] | None = None,
    draws: int = 400,
    latents: Latents = "new",
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, PredictiveCheck]:
    r"""Compare statistics of the data with those of data sets that the pair draws.

    \[ p = \min\Big(1,\; 2 \min_{\pm} \frac{1 + \#\{s : \pm T(x^{(s)}) \ge \pm T(x)\}}{1 + S}\Big), \qquad
    x^{(s)} \sim \int p(x \mid z, w)\, p(z \mid w)\, q(w)\, dz\, dw \]

    A small p says that the model does not make such data. For data from the model at known weights p is uniform; where
    weights were learned from the same data, it is small less often than it says.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        statistics: name -> function of the whole of a site's values, (rows, *event), to one number. Cells that are not
            observed are NaN, in the data and in what is drawn. Left out: mean, standard deviation, deviation of the
            row means, smallest and largest value.
        draws: S, data sets of N rows.
        latents: "new": z from the model, so that the model as a whole is checked; "posterior": z of the data, so that
            the likelihood around it is, which finds less.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where several could be.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: PredictiveCheck}`.

    Raises:
        ArgumentError: a statistic that fails, or gives other than one number.

    References:
        Gelman, Meng and Stern, "Posterior predictive assessment of model fitness via realized discrepancies" (1996).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> found = pv.predictive_check(truth, truth.sample(200, seed=0), statistics={"median": torch.median}, draws=50)
        >>> found["x"].names, bool(found["x"].chance > 0.05)
        (('median',), True)
    """
    chosen = dict(STATISTICS if statistics is None else statistics)
    if not chosen or not all(callable(one) for one in chosen.values()):
        raise ArgumentError(f"{argument('statistics', statistics)}; give a name and a function for one at least.")
    if latents not in ("new", "posterior"):
        raise ArgumentError(f"{argument('latents', latents)}; give 'new' or 'posterior'.")
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    sampler.use.tell_of_other_rows(means=True)
    count = check_count("draws", draws)
    sites = given_sites(sampler.structure)
    return {whole_of(sampler.structure, site): _checked(sampler, site, chosen, count, latents) for site in sites}


def _checked(
    sampler: Sampler, site: str, statistics: Mapping[str, Statistic], draws: int, latents: Latents
) -> PredictiveCheck:
    own, seen = _observed(sampler, site)
    own = own.masked_fill(~seen, torch.nan)
    observed = _numbers(statistics, own)
    drawn = [
        _numbers(statistics, one.masked_fill(~seen, torch.nan))
        for part in _data_sets(sampler, site, draws, latents, own.numel())
        for one in part
    ]
    others = torch.stack(drawn, 1)
    above, below = ((others >= observed[:, None]).sum(1), (others <= observed[:, None]).sum(1))
    chance = (2 * (1 + torch.minimum(above, below)) / (1 + draws)).clamp(max=1).double()
    known = observed.isfinite() & others.isfinite().all(1)
    return PredictiveCheck(tuple(statistics), observed, others, chance.masked_fill(~known, torch.nan))


def _observed(sampler: Sampler, site: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The data of a site, (rows, *rest), and which of them count."""
    values, seen = [], []
    for batch, _, _ in sampler.row_tiles():
        run = sampler.single(batch)
        values.append(rows_second(sampler, observed_in(run, site)[None], site)[0].cpu())
        seen.append(rows_second(sampler, seen_in(run, site), site)[0].cpu())
    whole = torch.cat(values)
    return whole.to(torch.promote_types(whole.dtype, torch.get_default_dtype())), torch.cat(seen)


def _data_sets(sampler: Sampler, site: str, draws: int, latents: Latents, size: int) -> Iterator[torch.Tensor]:
    """Drawn data sets (some, rows, *rest), as many at a time as memory is to hold."""
    kind = "generative" if latents == "new" else "predictive"
    together = max(1, _TOGETHER // max(1, size))
    for start in range(0, draws, together):
        own = sampler.reseeded(seed_for(sampler.seed, "check", start))
        tiles = own.tiles(min(together, draws - start), kind)
        rows = [
            torch.cat([rows_second(own, tile.value(site), site).cpu() for tile in of_rows])
            for _, of_rows in groupby(tiles, key=lambda tile: tile.rows)
        ]
        whole = torch.cat(rows, 1)
        yield whole.to(torch.promote_types(whole.dtype, torch.get_default_dtype()))


def _numbers(statistics: Mapping[str, Statistic], values: torch.Tensor) -> torch.Tensor:
    return torch.stack([_number(name, statistic, values) for name, statistic in statistics.items()])


def _number(name: str, statistic: Statistic, values: torch.Tensor) -> torch.Tensor:
    try:
        found = torch.as_tensor(statistic(values)).detach().cpu().double()
    except Exception as error:
        raise ArgumentError(
            f"statistics: {name!r} fails on values of shape {tuple(values.shape)}: {type(error).__name__}: {error}"
        ) from error
    if found.numel() != 1:
        raise ArgumentError(
            f"statistics: {name!r} gives shape {tuple(found.shape)}; give a function of all values, (rows, *event), to "
            "one number."
        )
    return found.reshape(())
