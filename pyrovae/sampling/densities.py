"""Log-probabilities of draws for each datum, with sites that the model enumerates summed out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from pyro.infer.traceenum_elbo import _compute_model_factors
from pyro.ops import packed
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.rings import LogRing
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError
from pyrovae.objectives.figures import copied, is_part_of_q
from pyrovae.pairs.masks import mask_of, one_sided_words, same_elements
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.routes import DRAWS
from pyrovae.sampling.runs import Run, plate_scale
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile


class Densities(NamedTuple):
    """log p and log q of draws: their local parts for each datum (draws, rows), their global parts (draws,).

    Masks are in, and the scales of subsampled plates but that of the data. What the author scales is not, nor are
    factors of the guide. A pair without a data plate has nothing local.
    """

    model: torch.Tensor
    guide: torch.Tensor
    global_model: torch.Tensor
    global_guide: torch.Tensor

    @property
    def log_weights(self) -> torch.Tensor:
        """log p(x_n, z_n | w) - log q(z_n | x_n, w), (draws, rows)."""
        return self.model - self.guide


class Scored(NamedTuple):
    """Densities of some draws for some rows; `part` counts the global draws of a grid."""

    draws: range
    rows: range
    densities: Densities
    part: int


def scored(sampler: Sampler, draws: int) -> Iterator[Scored]:
    """Densities of `draws` draws of the guide for every row: for each tile of rows, all tiles of draws."""
    for tile in sampler.tiles(draws, "scored"):
        yield Scored(tile.draws, tile.rows, densities_of(tile), 0)


def scored_grid(sampler: Sampler, shared_draws: int, local_draws: int) -> Iterator[Scored]:
    """The same on a grid: for each tile of rows and each global draw, all tiles of local draws."""
    for tile in sampler.grid(shared_draws, local_draws, "scored"):
        yield Scored(tile.draws, tile.rows, densities_of(tile), tile.part)


@torch.no_grad()
def densities_of(tile: Tile) -> Densities:
    """What the draws of a tile of kind "scored" have for log-probabilities."""
    parts = [of_run(run, len(tile.rows)) for run in tile.runs]
    return Densities(*(torch.cat([getattr(part, field) for part in parts]) for field in Densities._fields))


def of_run(run: Run, rows: int) -> Densities:
    """What the draws of one run of kind "scored" have for log-probabilities, gradients and all.

    Raises:
        PairError: a mask hides a part of a latent site on one side alone.
    """
    _check_masks(run)
    guide = [one + prior for one, prior in zip(_summed(run, "guide", rows), _drawn_by_model(run, rows), strict=True)]
    return _beside(run, rows, guide)


def model_of_run(run: Run, rows: int) -> Densities:
    """The same with 0 for what the guide says, as where its flow has no inverse and scores its own draws alone."""
    return _beside(run, rows, _nothing(run, rows))


def _beside(run: Run, rows: int, guide: Sequence[torch.Tensor]) -> Densities:
    model = _contracted(run, rows) if _enumerates(run.traces) else _summed(run, "model", rows)
    return Densities(model[0], guide[0], model[1], guide[1])


def _check_masks(run: Run) -> None:
    if not may_read():
        return  # looked at when the data came in
    for name in run.names("guide"):
        if name in run.traces.model and not run.node(name)["is_observed"]:
            masks = [_mask(run, name, side) for side in ("guide", "model")]
            if not same_elements(*masks):
                raise PairError(one_sided_words(name))


def _mask(run: Run, name: str, side: str) -> torch.Tensor | None:
    mask = mask_of(run.node(name, side))
    return None if mask is None else run.of(name, lambda fn: mask, side=side)


def _enumerates(traces: Traces) -> bool:
    return any("_enumerate_dim" in node["infer"] for _, node in samples(traces.model))


def _drawn_by_model(run: Run, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the guide lacks, the model draws: there its distribution is the one by which draws are weighed."""
    nodes = samples(run.traces.model)
    drawn = {name for name, node in nodes if not node["is_observed"] and "_enumerate_dim" not in node["infer"]}
    return _summed(run, "model", rows, only=drawn - set(run.names("guide")))


def _summed(run: Run, side: str, rows: int, only: Collection[str] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities added up over the local and over the global sites of one side."""
    local, common = _nothing(run, rows)
    if only is None:
        only = [name for name in run.names(side) if side == "model" or is_part_of_q(run.node(name, side))]
    for name in only:
        term = run.per_datum(name, side).double()
        if term.ndim == 2:
            local = local.to(term) + term
        else:
            common = common.to(term) + term
    return local.double(), common.double()


def _nothing(run: Run, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums to begin with, on the run's device: a side may have no site of a row, or none that all share."""
    device = next((node["value"].device for _, node in samples(run.traces.model)), None)
    return torch.zeros(run.draws, rows, device=device), torch.zeros(run.draws, device=device)


# --- enumerated sites ---------------------------------------------------------------------------------
def _contracted(run: Run, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for a model that enumerates, by Pyro's own contraction over what it enumerates."""
    for trace in run.traces:
        trace.compute_log_prob()  # the contraction reads both, scaled and not
    guide, model = copied(run.traces.guide), copied(run.traces.model)
    guide.pack_tensors()
    model.pack_tensors(guide.plate_to_symbol)
    symbols: dict[str, str] = {**guide.plate_to_symbol, **model.plate_to_symbol}
    symbol = symbols.get(run.data_plate or "", "")
    factor = max((plate_scale(node, run.data_plate) for _, node in samples(model)), default=1.0)
    local, common = (one.double() for one in _nothing(run, rows))
    for plates, term in _terms(model, guide):
        if symbol and symbol in plates:  # and not in the term's own dims: packed, it has none of a single row
            local = local.to(term.device) + _by_row(term, symbol, symbols, run.draws, rows) / factor
        else:
            common = common.to(term.device) + _by_draw(term, symbols, run.draws)
    return local, common


def _terms(model: Trace, guide: Trace) -> Iterator[tuple[frozenset[str], Any]]:
    """What is left after the contraction, each term with the plates that it stands in."""
    costs, factors, _, dims, scale = _compute_model_factors(model, guide)
    for plates, terms in costs.items():
        yield from ((plates, term) for term in terms)
    if not factors:
        return
    sizes = {dim: size for terms in factors.values() for t in terms for dim, size in zip(t._pyro_dims, t.shape)}  # noqa: B905
    for plates, terms in contract_tensor_tree(factors, dims, ring=LogRing(dim_to_size=sizes)).items():
        yield from ((plates, packed.scale_and_mask(term, scale=scale)) for term in terms)


def _kept(term: Any, keep: str) -> torch.Tensor:
    """A packed tensor summed over all dims but these, in their order."""
    dims: str = term._pyro_dims
    return torch.einsum(f"{dims}->{''.join(symbol for symbol in keep if symbol in dims)}", term.double())


def _by_row(term: Any, symbol: str, symbols: dict[str, str], draws: int, rows: int) -> torch.Tensor:
    # Where draws are more rows, the rows of one draw come after those of another.
    value = _kept(term, symbols.get(DRAWS, "") + symbol)
    return value.reshape(draws, rows) if value.numel() == draws * rows else value.expand(draws, rows)


def _by_draw(term: Any, symbols: dict[str, str], draws: int) -> torch.Tensor:
    return _kept(term, symbols.get(DRAWS, "")).reshape(-1).expand(draws)
