"""Data drawn from a pair, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.errors import DataError
from pyrovae.pairs.blank import blank_data
from pyrovae.pairs.numbers import as_whole
from pyrovae.pairs.pair import HasPair, Wrapped, shares_codes
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.in_words import in_words
from pyrovae.sampling.layout import Place
from pyrovae.sampling.observed_arguments import with_values
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile
from pyrovae.sampling.use import arguments
from pyrovae.sampling.whole_sites import whole_of
from pyrovae.trust.uncertainty import check_measure
from pyrovae.trust.uncertainty_grid import GridSplit, Uncertainty, grid_size, grid_spread


class GeneratedWithUncertainty(NamedTuple):
    """Generated data and how uncertain the pair is of each.

    Attributes:
        values: `{site: (*plates, *event)}` of latent, observed and deterministic sites.
        uncertainty: `{observed site: Uncertainty}`.
    """

    values: dict[str, Tensor]
    uncertainty: dict[str, Uncertainty]

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return in_words(self)


class GivenLatents(Wrapped):
    """A pair whose local latent sites are given as further data.

    Args:
        pair: the pair.
        places: where the rows stand in the value of each site that is given, in the order of the further data.
    """

    adds_data = True

    def __init__(self, pair: HasPair, places: Mapping[str, Place]):
        self.pair, self.places = pair, places

    def model(self, *args, **kwargs):
        """The pair's model."""
        return self._run(self.pair.model, args, kwargs)

    def guide(self, *args, **kwargs):
        """The pair's guide."""
        return self._run(self.pair.guide, args, kwargs)

    def _run(self, program: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        names = [_key(name) for name in self.places]
        if kwargs:
            held = [kwargs[name] for name in names]
            kwargs = {name: value for name, value in kwargs.items() if name not in names}
        else:
            args, held = args[: len(args) - len(names)], args[len(args) - len(names) :]
        with _Given(dict(zip(self.places, held, strict=True)), self.places):
            return program(*args, **kwargs)


def _key(site: str) -> str:
    return f"_held_{site}"


class _Given(Messenger):
    """Values for sites, which are drawn no more."""

    def __init__(self, values: Mapping[str, Tensor], places: Mapping[str, Place]):
        super().__init__()
        self.values, self.places = values, places

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            axis = self.places[msg["name"]].axis
            msg["value"] = self.values[msg["name"]].movedim(0, 0 if axis is None else axis)
            msg["done"] = True
            msg["infer"] = {key: value for key, value in msg["infer"].items() if key != "enumerate"}  # nothing to sum


@in_turn
def generate_with_uncertainty(
    pair: HasPair,
    count_or_data: Any = None,
    /,
    *more: Any,
    draws: int | tuple[int, int] = 100,
    measure: str = "auto",
    seed: int | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> GeneratedWithUncertainty:
    r"""Draw new data from the model, each with its uncertainty.

    \[ w_1, \dots, w_G \sim q(w), \qquad z_n \sim p(z_n \mid w_1), \qquad x_n \sim p(x_n \mid z_n, w_1) \]

    The aleatoric part is the noise at the datum's own z_n, the epistemic part the spread of
    \( \mathbb E[x \mid z_n, w_g] \) over global draws at that z_n, and the latent part what remains open about z once
    x_n is encoded again. So `nats` is one number for each generated datum, comparable with that of `uncertainty` for
    real ones. In an ensemble a code means something else to each member: there the epistemic part, too, is the one
    after encoding.

    Args:
        pair: any pair.
        count_or_data: how many data, for pairs that know their own shapes (`VAE`, recipes); for any other pair data of
            the shape wanted, whose covariates are used and whose observed values are not.
        *more: further arguments of the model.
        draws: as in `uncertainty`.
        measure: as in `uncertainty`.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **named: keyword arguments of the model.

    Returns:
        The data and their uncertainty, on the CPU.

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> made = pv.generate_with_uncertainty(vae, 10, seed=0)
        >>> made.values["x"].shape, made.uncertainty["x"].nats.shape
        (torch.Size([10, 5]), torch.Size([10]))
    """
    check_measure(measure)
    seed = chosen_seed(seed)
    batch = _asked(pair, count_or_data, more, named)
    sampler = _sampler(pair, batch, seed, data_plate)
    values = _drawn(sampler)
    observed = sampler.structure.named("observed")
    data = with_values(sampler, batch, {name: values[name] for name in observed})
    shared, inner = grid_size(sampler, draws)
    comparable = shares_codes(pair)
    own = _at_own_latents(sampler, pair, data, values, shared if comparable else 1, measure, seed)
    encoded = grid_spread(_sampler(pair, data, seed, data_plate), observed, shared, inner, measure)
    parts = {name: _together(own[name], encoded[name], comparable=comparable) for name in own if name in encoded}
    roles = {name: site.role for name, site in sampler.structure.sites.items()}
    shown = {name: value.cpu() for name, value in values.items() if roles.get(name, "factor") != "factor"}
    return GeneratedWithUncertainty(
        shown, {whole_of(sampler.structure, name): split.summary() for name, split in parts.items()}
    )


def _together(own: GridSplit, encoded: GridSplit, *, comparable: bool) -> GridSplit:
    """Noise and epistemic part at the datum's own latents, the latent part after encoding it.

    Where a code means something else under other weights the spread at that code says nothing: then the noise is that
    of the weights that made the datum, and the epistemic part, too, is the one after encoding.
    """
    parts = own.parts._replace(latent=encoded.parts.latent.to(own.parts.aleatoric))
    if not comparable:
        parts = parts._replace(epistemic=encoded.parts.epistemic.to(own.parts.aleatoric))
    return own._replace(parts=parts, moved=encoded.moved)


def _asked(pair: HasPair, count_or_data: Any, more: tuple, named: Mapping[str, Any]) -> Batch:
    """All rows that are asked for, as one batch."""
    count = as_whole(count_or_data)
    if count is not None:
        return Batch(blank_data(pair, count, more, tuple(named)), {})
    data = arguments(pair, () if count_or_data is None else (count_or_data, *more), named)
    batches = as_batches(data[0] if isinstance(data, tuple) and len(data) == 1 else data)
    if not batches.random_access or batches.rows is None:
        raise DataError("generated data with their uncertainty need arrays to go by, not a stream or a DataLoader.")
    taken = batches.source.take(slice(0, batches.rows))
    return Batch.of({key: leaf.contiguous() for key, leaf in taken.leaves.items()})


def _sampler(pair: HasPair, batch: Batch, seed: int, data_plate: str | None) -> Sampler:
    return Sampler.of(pair, batch.args, batch.kwargs, seed=seed, data_plate=data_plate, stand_ins=True)


def _drawn(sampler: Sampler) -> dict[str, Tensor]:
    """One draw of each row from the model, its global sites from the guide."""
    tiles = [_values(tile) for tile in sampler.tiles(1, "generative")]
    axes = {name: sampler.layout.place(("model", name)).axis for name in tiles[0]}
    return {
        name: value if (axis := axes[name]) is None else torch.cat([tile[name] for tile in tiles], axis)
        for name, value in tiles[0].items()
    }


def _values(tile: Tile) -> dict[str, Tensor]:
    return {name: tile.value(name)[0] for name in tile.names()}


def _at_own_latents(
    sampler: Sampler, pair: HasPair, data: Batch, values: Mapping[str, Tensor], shared: int, measure: str, seed: int
) -> dict[str, GridSplit]:
    """The parts at each datum's own local latents: there is no latent one."""
    roles = ("latent", "enumerated", "unguided")
    local = [name for name, site in sampler.structure.sites.items() if site.local and site.role in roles]
    places = {name: sampler.layout.place(("model", name)) for name in local}
    held = {name: values[name].movedim(places[name].axis or 0, 0) for name in local}
    if data.kwargs:
        whole = Batch((), {**data.kwargs, **{_key(name): value for name, value in held.items()}})
    else:
        whole = Batch((*data.args, *held.values()), {})
    own = _sampler(GivenLatents(pair, places), whole, seed, sampler.structure.data_plate)
    return grid_spread(own, sampler.structure.named("observed"), shared, 1, measure)
