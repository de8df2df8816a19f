"""Mean and scale of what the guide says of each datum, and of what is one for all of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.pairs.classes import as_indicators, class_form, extra_dims, probabilities
from pyrovae.pairs.known_support import is_angle
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.prediction.moments import RunningMoments
from pyrovae.prediction.readings import rows_first
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

_DRAWS = 100  # a tenth of a standard deviation is near enough for a mean that is only drawn


class Encoding(NamedTuple):
    """Mean and scale (standard deviation) of a latent site's posterior, each of shape (rows, *event).

    Of a global site there is one for all rows, of shape (*event).

    Of a site of classes the mean holds their probabilities, (rows, *event, classes). Of an angle (`VonMises`) it is the
    mean direction, and the scale the circular standard deviation, (-2 log R)^½ for a mean resultant of length R.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.encode(vae, torch.ones(3, 5))["z"].scale.shape
        torch.Size([3, 2])
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


@in_turn
def encode(
    pair: HasPair, /, *data: Any, draws: int = _DRAWS, seed: int | None = 0, data_plate: str | None = None, **named: Any
) -> dict[str, Encoding]:
    """Posterior mean and scale of every latent site: those of each row, and those that are one for all rows.

    `mean = E_q[z_n | x_n]` and `scale = sd_q[z_n | x_n]`, read off the guide's distributions in eval mode. Where
    these depend on other draws of the guide (on an auxiliary site, on a latent site above), by the laws of total
    expectation and variance over draws of those; where a distribution has no moments (a flow), those of its draws.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        draws: how many, where moments need draws.
        seed: of those draws.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{site: Encoding}` on the CPU, rows first; global sites come last, and have no rows.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.encode(vae, torch.ones(3, 5))["z"].mean.shape
        torch.Size([3, 2])
    """
    draws = check_count("draws", draws)
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    sampler.use.tell_of_unguided()
    return encodings(sampler, draws, of_all=True)


@in_turn
def encode_rows(
    pair: HasPair, data: tuple, named: Mapping[str, Any], *, draws: int = _DRAWS, seed: int | None = 0
) -> dict[str, Encoding]:
    """`encode` of the sites of each row alone, for what makes a column of each."""
    draws = check_count("draws", draws)
    return encodings(Sampler.of(pair, data, named, seed=seed), draws)


def encodings(
    sampler: Sampler, draws: int = _DRAWS, *, classes: bool = True, of_all: bool = False
) -> dict[str, Encoding]:
    """`encode` with a sampler at hand.

    Args:
        sampler: what draws.
        draws: how many, where moments need draws.
        classes: whether sites of classes are among them, and those that the model enumerates.
        of_all: whether global sites are among them.
    """
    with torch.set_grad_enabled(sampler.use.gradients):
        return _encodings(sampler, draws, classes=classes, of_all=of_all)


def _encodings(sampler: Sampler, draws: int, *, classes: bool, of_all: bool) -> dict[str, Encoding]:
    whole = sampler.structure.named("latent", local=False) if of_all else []
    enumerated = sampler.structure.named("enumerated", local=True) if classes else []
    kind = "posterior" if enumerated else "guide"
    local = [*sampler.structure.named("latent", local=True), *enumerated]
    drawn = _drawn(next(sampler.tiles(2, kind)), [*local, *whole], classes)
    kept = _KeptState if sampler.use.gradients else _RunningState
    states: dict[str, Any] = {}
    found: dict[str, list[Encoding]] = {}
    draws = draws if any(drawn.values()) else 1
    for tile in sampler.tiles(draws, kind):
        _check_same_sites(sampler, tile)
        for site in drawn:
            if site in whole and tile.rows.start:
                continue  # once is enough
            states.setdefault(site, kept()).add(tile, site, drawn=drawn[site])
            if tile.draws.stop == draws:
                encoding, axis = states.pop(site).encoding(), _axis(sampler, tile, site)
                encoding = _of_angle(encoding.mean) if _is_angle(tile, site) else encoding
                found.setdefault(site, []).append(Encoding(*(rows_first(part, axis).cpu() for part in encoding)))
    return {site: _joined(parts) for site, parts in found.items()}


def _joined(parts: list[Encoding]) -> Encoding:
    return parts[0] if len(parts) == 1 else Encoding(*map(torch.cat, zip(*parts, strict=True)))


def _check_same_sites(sampler: Sampler, tile: Tile) -> None:
    """Refuse a site that the first look did not see: it would be left out."""
    for run in tile.runs:
        for name in run.names("guide"):
            sampler.layout.place(("guide", name))


def _side(tile: Tile, site: str) -> str:
    return "guide" if site in tile.names("guide") else "model"  # of what the model enumerates, the guide knows nothing


def _axis(sampler: Sampler, tile: Tile, site: str) -> int | None:
    side = _side(tile, site)
    axis = sampler.layout.place((side, site)).axis
    return None if axis is None else axis - extra_dims(tile.runs[0].node(site, side)["fn"])


def _drawn(tile: Tile, sites: list[str], classes: bool) -> dict[str, bool]:
    """For each site that has moments, whether they differ from draw to draw."""
    found = {}
    for site in sites:
        side = _side(tile, site)
        if not classes and class_form(tile.runs[0].node(site, side)["fn"]) == "labels":
            continue
        mean, variance = _moments(tile, site)
        if not bool(mean.isfinite().all()):
            continue
        found[site] = side == "model" or len(mean) < 2 or _move(mean, variance)
    return found


def _move(mean: torch.Tensor, variance: torch.Tensor) -> bool:
    """Whether moments of two draws differ, against the deviation: years move by little of their level."""
    rounding = 4 * torch.finfo(mean.dtype).eps if mean.is_floating_point() else 0.0
    allowed = 1e-3 * variance[0].sqrt() + rounding * mean[0].abs()
    means = (mean[0] - mean[1]).abs() > allowed
    return bool(means.any()) or not torch.allclose(variance[0], variance[1], rtol=1e-4, atol=0.0)


def _moments(tile: Tile, site: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of a site in each draw; of a distribution without them, its value and zero."""
    side = _side(tile, site)
    fn = tile.runs[0].node(site, side)["fn"]
    extra = extra_dims(fn)
    if side == "guide" and extra:
        mean = tile.of(site, probabilities, side=side, extra=extra)
        return mean, mean * (1 - mean)
    if is_angle(fn):
        resultant = _resultant(tile, site, side)
        return resultant, torch.zeros_like(resultant)
    if side == "guide" and _has_moments(fn):
        mean, variance = (tile.of(site, operator.attrgetter(name), side=side) for name in ("mean", "variance"))
        return mean, variance
    value = as_indicators(tile.value(site, side), class_form(fn), probabilities(fn).shape[-1] if extra else 0)
    value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
    return value, torch.zeros_like(value)


def _resultant(tile: Tile, site: str, side: str) -> torch.Tensor:
    """The mean of (cos, sin) of an angle in each draw, in a dim behind its event."""
    if side == "guide" and _has_moments(tile.runs[0].node(site, side)["fn"]):
        angle, spread = (tile.of(site, operator.attrgetter(name), side=side) for name in ("mean", "variance"))
    else:
        angle, spread = tile.value(site, side), torch.zeros(())
    length = (1 - spread).unsqueeze(-1)  # the variance of an angle is 1 less the resultant's length
    return length * torch.stack([angle.cos(), angle.sin()], -1)


def _of_angle(resultant: torch.Tensor) -> Encoding:
    length = resultant.norm(dim=-1).clamp(max=1)
    return Encoding(torch.atan2(resultant[..., 1], resultant[..., 0]), (-2 * length.log()).sqrt())


def _is_angle(tile: Tile, site: str) -> bool:
    return is_angle(tile.runs[0].node(site, _side(tile, site))["fn"])


def _has_moments(fn: Any) -> bool:
    try:
        return fn.mean is not None and fn.variance is not None
    except (NotImplementedError, AttributeError):  # how distributions say that they have none
        return False


class _RunningState:
    """The moments of one site for one tile of rows."""

    def __init__(self):
        self.means, self.variances = RunningMoments(), RunningMoments()
        self.dtype = torch.get_default_dtype()

    def add(self, tile: Tile, site: str, *, drawn: bool) -> None:
        if not drawn and self.means.count:
            return
        mean, variance = (part if drawn else part[:1] for part in _moments(tile, site))
        self.dtype = mean.dtype
        self.means.add(mean)
        self.variances.add(variance)

    def encoding(self) -> Encoding:
        variance = self.variances.mean + self.means.scale.square()
        return Encoding(self.means.mean.to(self.dtype), variance.sqrt().to(self.dtype))


class _KeptState:
    """The same with the way back to the data, for which all draws are held at once."""

    def __init__(self):
        self.means: list[torch.Tensor] = []
        self.variances: list[torch.Tensor] = []

    def add(self, tile: Tile, site: str, *, drawn: bool) -> None:
        if not drawn and self.means:
            return
        mean, variance = (part if drawn else part[:1] for part in _moments(tile, site))
        self.means.append(mean)
        self.variances.append(variance)

    def encoding(self) -> Encoding:
        means, variances = torch.cat(self.means), torch.cat(self.variances)
        between = means.var(0) if len(means) > 1 else torch.zeros_like(means[0])
        return Encoding(means.mean(0), (variances.mean(0) + between).sqrt())
