"""How much the codes say about the data, and how far all codes together are from the prior."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.evaluation.per_datum import sampler_of
from pyrovae.pairs.masks import hides_a_part
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, unwrapped
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.same_numbers import same_numbers
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.trace import samples
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

_QUERIES = 1_000

_TOGETHER = 64  # queries scored in one run


class Information(NamedTuple):
    """`rate = mutual_information + aggregate_kl` in nats per datum; `error` is the standard error of the first summand.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> found = pv.mutual_information(vae, torch.randn(64, 5))
        >>> abs(found.rate - found.mutual_information - found.aggregate_kl) < 1e-6
        True
    """

    rate: float
    mutual_information: float
    aggregate_kl: float
    error: float


class _Query(NamedTuple):
    """One draw of the local sites for one datum, and its densities there."""

    nodes: Mapping[str, Any]  # of the guide, with a value whose row axis has length 1
    own: torch.Tensor  # log q(z | x_n)
    prior: torch.Tensor  # log p(z)


@in_turn
def mutual_information(
    pair: HasPair,
    /,
    *data: Any,
    queries: int = _QUERIES,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Information:
    r"""Split the rate into what codes say about their data, and what the prior does not know of the codes.

    \[ E_n \text{KL}(q(z \mid x_n) \,\|\, p(z)) = I(n; z) + \text{KL}(q(z) \,\|\, p(z)), \qquad
    I(n; z) = E_n E_{q(z \mid x_n)} \log \frac{q(z \mid x_n)}{q(z)}, \quad q(z) = \frac1N \sum_n q(z \mid x_n) \]

    The first part is log N at most. The second is the price of a prior that is not the aggregate posterior: data drawn
    from the prior come from codes that no datum has. Local sites are taken together; global ones are drawn once.

    Args:
        pair: any pair with local latent sites.
        *data: the arguments of model and guide, N rows, all of which make up q(z).
        queries: draws of z, one for each of so many rows that are chosen at random, at which densities are compared;
            the cost is N times as many.
        seed: of the draws.
        data_plate: the plate whose length follows the data, where several do.
        **named: keyword arguments of model and guide.

    Returns:
        An `Information` of floats.

    References:
        Hoffman and Johnson, "ELBO surgery" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.mutual_information(vae, torch.randn(64, 5)).mutual_information < 4.2  # log 64
        True
    """
    queries = check_count("queries", queries)
    return information_in(sampler_of(pair, data, named, seed, data_plate), queries=queries)


def information_in(sampler: Sampler, *, queries: int) -> Information:
    """`mutual_information` with a sampler at hand."""
    sites = [s.name for s in sampler.structure.sites.values() if s.local and s.role in ("latent", "auxiliary")]
    if not sites or sampler.rows is None:
        raise ArgumentError(
            "the pair has no local latent site in its guide, so there are no codes that could say anything."
        )
    _check_holds_values(sampler)
    with torch.no_grad():
        asked = list(_queries(sampler, sites, queries))
        aggregate = _aggregate(sampler, sites, asked) - math.log(sampler.rows)
    own, prior = (torch.stack([getattr(query, name) for query in asked]) for name in ("own", "prior"))
    if not bool(torch.isfinite(aggregate).all()):
        raise DataError("the density of a draw at other data is not finite, so that codes cannot be compared.")
    information, away = own - aggregate, aggregate - prior
    error = float(information.std() / math.sqrt(len(information))) if len(information) > 1 else math.nan
    return Information(float((own - prior).mean()), float(information.mean()), float(away.mean()), error)


def _check_holds_values(sampler: Sampler) -> None:
    guide = unwrapped(sampler.use.pair).guide
    if isinstance(guide, GuideMessenger):
        raise PairError(
            f"the guide is an {type(guide).__name__}, which runs the model and draws there, so that no draw of one row "
            "can be held beside the guide of another, which is how codes are compared. Take AutoNormal, or a guide "
            "that draws its sites itself; rate_distortion, log_evidence and the rest take this one."
        )


def _queries(sampler: Sampler, sites: list[str], count: int) -> Iterator[_Query]:
    assert sampler.rows is not None
    generator = torch.Generator().manual_seed(seed_for(sampler.seed, "queries") % 2**62)
    chosen = torch.randperm(sampler.rows, generator=generator)[:count].sort().values.tolist()
    for tile in sampler.grid(1, 1):
        inside = [row - tile.rows.start for row in chosen if row in tile.rows]
        if inside:
            yield from _of_tile(sampler, tile, sites, inside)


def _of_tile(sampler: Sampler, tile: Tile, sites: list[str], rows: list[int]) -> Iterator[_Query]:
    run = tile.runs[0]
    _check_unmasked(run, sites)
    guide = {name: tile.per_datum(name, "guide")[0].double().cpu() for name in sites}
    latent = [name for name in sites if name in tile.names()]
    model = {name: tile.per_datum(name)[0].double().cpu() for name in latent}
    for row in rows:
        nodes = {
            name: {**run.node(name, "guide"), "value": _one_row(sampler, tile.value(name, "guide")[0], name, row)}
            for name in sites
        }
        yield _Query(
            nodes,
            torch.stack([density[row] for density in guide.values()]).sum(),
            torch.stack([density[row] for density in model.values()]).sum(),
        )


def _check_unmasked(run: Run, sites: list[str]) -> None:
    for name in sites:
        if hides_a_part(run.node(name, "guide")):
            raise DataError(
                f"a mask hides a part of {name!r}: what is hidden has no density, so that codes of several rows cannot "
                "be compared. Leave out the rows that are masked."
            )


def _one_row(sampler: Sampler, value: torch.Tensor, name: str, row: int) -> torch.Tensor:
    axis = sampler.layout.place(("guide", name)).axis
    return value if axis is None else value.narrow(axis, row, 1)


# --- the draws of one datum under the guides of all ---------------------------------------------------
def _aggregate(sampler: Sampler, sites: list[str], asked: list[_Query]) -> torch.Tensor:
    """The log of the sum over all rows of q(z | x_m), for each query."""
    total, score = torch.full((len(asked),), -math.inf, dtype=torch.float64), None
    for batch, _, _ in sampler.row_tiles():
        with sampler.use.quietly(0):
            score = score or _way(sampler, batch, sites, asked)
            parts = [asked[start : start + _TOGETHER] for start in range(0, len(asked), _TOGETHER)]
            found = [score(sampler, batch, sites, part).double().logsumexp(1).cpu() for part in parts]
        total = torch.logaddexp(total, torch.cat(found))
    return total


def _way(sampler: Sampler, batch: Batch, sites: list[str], asked: list[_Query]) -> Any:
    """All queries in an outer plate where that is what single runs give."""
    few = asked[:2]
    single = _one_by_one(sampler, batch, sites, few)
    try:
        together = _in_plate(sampler, batch, sites, few)
    except Exception:
        return _one_by_one
    same = together.shape == single.shape and torch.allclose(together, single, rtol=1e-4, atol=1e-4)
    return _in_plate if same else _one_by_one


def _in_plate(sampler: Sampler, batch: Batch, sites: list[str], asked: list[_Query]) -> torch.Tensor:
    """log q(z_k | x_m), (queries, rows), by one run of the guide."""
    held = _shared(sampler)
    for name in sites:
        value = torch.stack([query.nodes[name]["value"] for query in asked])
        pads = [1] * (sampler.found.plates - sampler.layout.place(("guide", name), batch=True).ndim)
        held.add_node(name, **{**asked[0].nodes[name], "value": value.reshape(len(asked), *pads, *value.shape[1:])})
    return _summed(sampler.guide_given(batch, held, len(asked)), sites)


def _one_by_one(sampler: Sampler, batch: Batch, sites: list[str], asked: list[_Query]) -> torch.Tensor:
    """The same by one run for each query."""
    found = []
    for query in asked:
        held = _shared(sampler)
        for name in sites:
            node, axis = query.nodes[name], sampler.layout.place(("guide", name)).axis
            value = node["value"]
            spread = value if axis is None else value.expand(*_with(value.shape, axis, batch.rows))
            held.add_node(name, **{**node, "value": spread})
        found.append(_summed(sampler.guide_given(batch, held), sites)[0])
    return torch.stack(found)


def _shared(sampler: Sampler) -> Trace:
    held = Trace()
    for name, node in samples(sampler.global_draw(0)) if sampler.global_sites else ():
        held.add_node(name, **node)
    return held


def _with(shape: torch.Size, axis: int, length: int) -> list[int]:
    changed = list(shape)
    changed[axis] = length
    return changed


def _summed(run: Run, sites: list[str]) -> torch.Tensor:
    for name in sites:
        fn, value = run.node(name, "guide")["fn"], run.node(name, "guide")["value"]
        if is_delta(fn) and not same_numbers(fn.sample(), value, rtol=1e-4, atol=1e-5):
            raise DataError(
                f"the guide makes {name!r} by a function of the datum (behind an auxiliary site), so that the draws of "
                "one datum are none of another, and have no density there."
            )
    return torch.stack([run.per_datum(name, "guide") for name in sites]).sum(0)
