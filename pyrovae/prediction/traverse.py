"""What each latent dimension does to the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import torch

from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.numbers import as_whole, finite
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.drawn import drawn
from pyrovae.prediction.encode import encodings
from pyrovae.prediction.generate import only
from pyrovae.prediction.output import Output
from pyrovae.prediction.variations import VariationSpread
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_wholes


@in_turn
def traverse(
    pair: HasPair,
    /,
    *data: Any,
    site: str | None = None,
    dims: Iterable[int] | None = None,
    values: Iterable[float] = (-2.0, -1.0, 0.0, 1.0, 2.0),
    together: bool = False,
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, torch.Tensor]:
    """Each datum decoded again with one dimension of its encoding moved, dimension after dimension.

    `E[x | z]` at the posterior mean z, but for `z_d = v` in one dimension d of one site.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, a few rows.
        site: the latent site of each row; needed where there are several.
        dims: its dimensions, counted through its event; left out, all.
        values: what each takes in turn.
        together: two dimensions (or three) at once, over the grid of their values: the plane that they span.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: (dims, values, rows, *event)}`; of dimensions moved together (values, values, rows, *event),
        the first of `dims` first.

    Raises:
        ArgumentError: no such site or dimension, or a value that is no number.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.traverse(vae, torch.ones(3, 5), values=[-1, 1])["x"].shape
        torch.Size([2, 2, 3, 5])
        >>> pv.traverse(vae, torch.ones(1, 5), values=range(-3, 4), together=True)["x"].shape
        torch.Size([7, 7, 1, 5])
    """
    numbers = [finite("traverse", "a value", value) for value in values]
    sampler = Sampler.of(pair, data, named, seed=0, data_plate=data_plate)
    found = encodings(sampler, classes=False)
    if site is None and len(found) == 1:
        site = next(iter(found))
    if site not in found:
        raise ArgumentError(
            f"traverse: {argument('site', site)}; name one continuous latent site of each row, of "
            f"{', '.join(map(repr, found)) or 'none'}."
        )
    local = frozenset(one.name for one in sampler.structure.sites.values() if one.local)
    places = _places(dims, found[site].mean[0].numel())
    if not (places and numbers):
        raise ArgumentError("traverse: give one dimension and one value at least.")
    if together and not 2 <= len(set(places)) == len(places) <= 3:
        raise ArgumentError(f"traverse: {len(places)} dimensions together; give two or three in dims=.")

    moved = VariationSpread(pair, local, 0.0)
    own = Sampler.of(moved, data, named, seed=0, data_plate=data_plate)  # one look at the pair for the whole grid

    def decoded(held: Mapping[int, float]) -> dict[str, torch.Tensor]:
        moved.held = {str(site): held}
        return only(drawn(own, 1, "posterior", observed_wholes(own.structure), mean=True, output=Output()), own)

    if together:
        steps = [dict(zip(places, one, strict=True)) for one in product(numbers, repeat=len(places))]
    else:
        steps = [{place: number} for place in places for number in numbers]
    shape = (len(numbers),) * len(places) if together else (len(places), len(numbers))
    grid = [decoded(held) for held in steps]
    return {x: torch.stack([one[x] for one in grid]).reshape(*shape, *grid[0][x].shape) for x in grid[0]}


def _places(dims: Iterable[int] | None, count: int) -> list[int]:
    places = [as_whole(dim) for dim in (range(count) if dims is None else dims)]
    if any(place is None or not 0 <= place < count for place in places):
        raise ArgumentError(f"traverse: {argument('dims', dims)}; the site has dimensions 0 to {count - 1}.")
    return [int(place) for place in places if place is not None]
