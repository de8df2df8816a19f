"""What coding a pair's rows goes by, found by looking at the pair; and what has no code, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from pyrovae.data.batch_sources import Batch
from pyrovae.data.inspection import as_tensor
from pyrovae.errors import DataError, PairError
from pyrovae.export.compression.block_coder import BlockCoder, CodingPlan, Part
from pyrovae.export.compression.coding_order import coding_order
from pyrovae.export.compression.dependences import Dependences
from pyrovae.export.compression.site_codes import (
    SiteCode,
    depth_of_grid,
    discrete_code,
    is_discrete,
    is_normal_mixture,
    is_real,
    refuse_joint,
)
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.masks import hides_a_part
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.trace import samples
from pyrovae.sampling.programs import WholePlate, cut
from pyrovae.sampling.sampler import Sampler

_ROWS = 256  # the most that are coded together
_NUMBERS = 2**22  # of all that a site's distributions say of a block: 32 MiB
_LOOKED_AT = 8  # rows on which dependences are seen
_PRIOR_RUNS = 8  # whose latent values say where the bins of a grid lie

_REFUSED = {
    "enumerated": (
        "the model sums out {site!r}, and what is left is over all of a datum's elements together. Let the guide draw "
        "it: pyro.sample({site!r}, dist.Categorical(logits=...))."
    ),
    "unguided": "the model draws {site!r} and the guide does not. Give the guide a site of that name.",
    "auxiliary": (
        "the guide draws {site!r} beside its latent sites (an autoguide, or what is made of one): its density is over "
        "all of them together, and coding takes one element after the other. Write the guide with a site of "
        "independent elements for each latent."
    ),
    "factor": "{site!r} is a pyro.factor, a weight and no probability, so that nothing can be coded under it.",
}


def coding_plan(sampler: Sampler, batch: Batch, *, exact: bool, seed: int) -> CodingPlan:
    """Look at a pair; call it inside `sampler.use.quietly`.

    Args:
        sampler: of the pair on its data.
        batch: first rows, as the user has them.
        exact: whether the pair runs in exact arithmetic.
        seed: of the looks.

    Raises:
        PairError: some site has no code.
        DataError: what a site observes is continuous.
    """
    placed = _placed(sampler, batch)
    run: Any = sampler.run(placed, "posterior")
    _refuse(sampler, run)
    observed, latent = sampler.structure.named("observed"), sampler.structure.named("latent")
    parts = {site: _part(site, run.model.nodes[site], placed) for site in observed}
    codes = {site: _observed_code(site, run.model.nodes[site], sampler) for site in observed}
    codes |= _latent_codes(sampler, placed, run, latent)
    plan = CodingPlan(codes, parts, (), {}, min(placed.rows, _LOOKED_AT))
    few = cut(batch, min(batch.rows, _LOOKED_AT))
    coder = BlockCoder(
        WholePlate(sampler.use.pair, sampler.structure.data_plate, follows=sampler.layout.follows),
        plan,
        sampler.use.placement.place,
        exact=exact,
    )
    reads = Dependences(coder, few, seed).reads(latent, [name for name in sampler.structure.sites if name in codes])
    order = coding_order(
        [one for one in reads if one.step.side == "guide"], [r for r in reads if r.step.side == "model"]
    )
    return plan._replace(
        order=tuple(order), reads={one.step: one.reads for one in reads}, block=_block(codes, run, placed.rows)
    )


def _placed(sampler: Sampler, batch: Batch) -> Batch:
    placed = sampler.use.placement.place(batch)
    leaves = {key: leaf.contiguous() for key, leaf in placed.leaves.items()}
    return Batch.of(leaves)._replace(positions=batch.positions)


# --- what has no code ---------------------------------------------------------------------------------------
def _refuse(sampler: Sampler, run: Any) -> None:
    structure = sampler.structure
    if not structure.named("observed"):
        raise PairError("the pair observes no site, so that there is nothing to code.")
    if sampler.found.per_row:
        raise PairError("the pair has parameters for the rows of its own data: a file for them would need these, too.")
    for role, words in _REFUSED.items():
        for site in structure.named(role):
            if role != "factor" or site in run.model:
                raise PairError(f"compress: {words.format(site=site)}")
    if shared := sampler.global_sites:
        raise PairError(
            f"compress: all rows share the latent site {shared[0]!r}, so that no row has a code of its own. Fix it at "
            f"a value: pv.Pair(pyro.condition(model, {{{shared[0]!r}: value}}), pyro.poutine.block(guide, "
            f"hide=[{shared[0]!r}]))."
        )
    if structure.data_plate is None:
        raise PairError(
            "compress: no plate says that the pair's rows are independent. Write `with pyro.plate('data', len(x)):`."
        )
    for site in structure.named("latent"):
        if is_delta(run.guide.nodes[site]["fn"]):
            raise PairError(
                f"compress: the guide puts {site!r} at a point, which gives back none of the bits that {site!r} costs. "
                "Give the guide a distribution with a width."
            )
    for trace in run:
        for name, node in samples(trace):
            if hides_a_part(node):
                raise PairError(
                    f"compress: a mask hides a part of {name!r}, which has no probability to be coded under. Leave the "
                    "mask out, or fill the holes first (pv.impute)."
                )


def _observed_code(site: str, node: Mapping[str, Any], sampler: Sampler) -> SiteCode:
    fn, value = node["fn"], node["value"]
    if not is_discrete(fn):
        raise DataError(
            f"compress: site {site!r} has a {type(base_of(fn)).__name__}, and continuous data have no last digit, so "
            "that no file holds them. Quantise first: x = torch.round((x - x.min()) / (x.max() - x.min()) * 255), and "
            "give the pair a likelihood of levels (pv.DiscretizedLogistic, pv.Categorical)."
        )
    return discrete_code(fn, value, site, most=_largest(sampler, value))


def _largest(sampler: Sampler, value: Tensor) -> int:
    """The largest whole number in the data, for distributions without an end; of a stream a guess with room above."""
    leaves = [as_tensor(leaf) for leaf in sampler.use.batches.leaves().values()]
    found = max((float(leaf.double().nan_to_num().max()) for leaf in leaves if leaf.numel()), default=0.0)
    seen = float(value.double().nan_to_num().max())
    return max(1, int(min(max(found, seen) if leaves else max(255.0, 4 * seen), 2**31)))


def _part(site: str, node: Mapping[str, Any], placed: Batch) -> Part:
    """Where in the arguments an observed value stands: a view of one, or all of it cast."""
    value = node["value"]
    spread = 0 in [stride for stride, size in zip(value.stride(), value.shape, strict=True) if size > 1]
    for key, leaf in placed.leaves.items():
        if leaf.untyped_storage().data_ptr() == value.untyped_storage().data_ptr() and not spread:
            return Part(key, int(value.storage_offset() - leaf.storage_offset()), tuple(value.stride()))
    for key, leaf in placed.leaves.items():
        if leaf.numel() == value.numel() and torch.equal(leaf.reshape(-1).double(), value.reshape(-1).double()):
            return Part(key, 0, value.contiguous().stride())
    raise PairError(
        f"compress: the pair computes what it observes at {site!r} from its arguments, so that these cannot be had "
        "back from it. Compute that beforehand, and give the pair the result as an argument."
    )


# --- latent sites -------------------------------------------------------------------------------------------
def _latent_codes(sampler: Sampler, placed: Batch, run: Any, latent: list[str]) -> dict[str, SiteCode]:
    codes, numbers = {}, {}
    for site in latent:
        guide, model = run.guide.nodes[site], run.model.nodes[site]
        if is_discrete(model["fn"]):
            code = discrete_code(model["fn"], guide["value"], site, most=255)
            discrete_code(guide["fn"], guide["value"], site, most=255)
            codes[site] = code
            continue
        for fn in (guide["fn"], model["fn"]):
            if not is_normal_mixture(fn):
                refuse_joint(fn, site)
        numbers[site] = depth_of_grid(guide["fn"], model["fn"])
    drawn = [sampler.run(placed, "prior").model for _ in range(_PRIOR_RUNS)] if numbers else []
    for site, depth in numbers.items():
        codes[site] = _grid(site, depth, drawn, run.guide.nodes[site]["value"].dtype, sampler)
    return codes


def _grid(site: str, depth: int, drawn: Any, dtype: torch.dtype, sampler: Sampler) -> SiteCode:
    """Bins of equal mass of the normal distribution with the moments of the prior's draws, in real numbers."""
    axis = sampler.layout.place(("model", site)).axis
    nodes = [trace.nodes[site] for trace in drawn]
    axis = 0 if axis is None else axis
    fn: Any = nodes[0]["fn"]
    values = torch.cat([node["value"].double() for node in nodes], axis)
    real = values if is_real(fn) else biject_to(base_of(fn).support).inv(values)
    if fixed := _fixed(fn, axis):
        loc, scale = fixed
    else:
        loc, scale = real.mean(axis, keepdim=True), real.std(axis, keepdim=True).clamp(min=1e-6)
        loc, scale = loc.to(torch.bfloat16), scale.to(torch.bfloat16)
    return SiteCode("grid", 2**depth - 1, dtype, loc.float(), scale.float())


def _fixed(fn: Any, axis: int) -> tuple[Tensor, ...]:
    """Mean and scale of a normal prior that is the same for all rows; then its bins are exact."""
    base = base_of(fn)
    if type(base).__name__ != "Normal":
        return ()
    shape = fn.batch_shape + fn.event_shape
    both = [one.expand(shape) for one in (base.loc, base.scale)]
    first = [one.narrow(axis, 0, 1) for one in both]
    return (
        tuple(first) if all(bool((a == b).all()) for a, b in zip(both, first, strict=True)) and shape[axis] > 1 else ()
    )


def _block(codes: Mapping[str, SiteCode], run: Any, rows: int) -> int:
    widest = 1
    for site, code in codes.items():
        fn = run.model.nodes[site]["fn"]
        each = code.shape(fn).numel() // max(rows, 1) or 1
        by_border = code.kind == "levels" or (code.kind == "whole" and code.top == 1) or code.depth == 12
        widest = max(widest, each * (1 if by_border else 4 * (code.top + 1)))
    return max(1, min(_ROWS, _NUMBERS // widest))
