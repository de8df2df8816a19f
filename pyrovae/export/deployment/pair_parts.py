"""What can be asked of a pair for itself: its code of data, what it says of given codes, a bound on the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.evaluation.per_datum import check_common_densities, check_local_densities, check_plate
from pyrovae.export.deployment.given_noise import WithoutMasks
from pyrovae.pairs.argument_names import positional_names
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.pair import guide_function, unwrapped
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.trace import Traces, samples
from pyrovae.prediction.readings import rows_first
from pyrovae.sampling.densities import of_run
from pyrovae.sampling.layout import fold_single
from pyrovae.sampling.plate_size import plate_size
from pyrovae.sampling.programs import traced
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.tiles import Tile

_GIVEN = ("latent", "enumerated", "unguided")  # roles of sites whose values the model is given

_ALIKE = ("probs", "logits", "covariance_matrix", "precision_matrix", "scale_tril")  # of which one makes the others


class PairPart(NamedTuple):
    """One part: its name, what it is given, and what it says.

    Attributes:
        name: "encode", "decode" or "elbo".
        inputs: `inputs(sampler, batch)` gives tensors by name, rows first.
        outputs: `outputs(sampler, inputs)` gives tensors by name, rows first where they have any.
        check: raises where the pair has no such part.
    """

    name: str
    inputs: Callable[[Sampler, Batch], dict[str, torch.Tensor]]
    outputs: Callable[[Sampler, Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]
    check: Callable[[Sampler], None]


def data_inputs(sampler: Sampler, batch: Batch) -> dict[str, torch.Tensor]:
    """The pair's arguments by name."""
    names = argument_names(sampler, batch)
    return {names[key]: leaf for key, leaf in batch.leaves.items()}


def argument_names(sampler: Sampler, batch: Batch) -> dict[int | str, str]:
    """What each argument is called: as the model's signature has it, where it says."""
    pair = sampler.use.pair
    known = positional_names(pair.model) or positional_names(unwrapped(pair).model)
    taken = {key for key in batch.leaves if isinstance(key, str)}
    found: dict[int | str, str] = {}
    for key in batch.leaves:
        name = key if isinstance(key, str) else known[key] if key < len(known) else f"argument_{key}"
        found[key] = f"argument_{key}" if isinstance(key, int) and name in taken else name
        taken.add(found[key])
    return found


def _batch(sampler: Sampler, given: Mapping[str, torch.Tensor]) -> Batch:
    first = sampler.use.first(None)
    return Batch.of({key: given[name] for key, name in argument_names(sampler, first).items()})


def _run(sampler: Sampler, model: Trace, guide: Trace) -> Run:
    return Run(Traces(model, guide), 1, fold_single, sampler.layout, sampler.structure.data_plate)


def _check_rows(sampler: Sampler, site: str, value: torch.Tensor, batch: Batch) -> None:
    """Refuse a site that has always the same rows, whatever is given."""
    if sampler.structure.sites[site].local and len(value) != batch.rows:
        raise PairError(
            f"{site!r} has rows of the pair's own, {len(value)} of them, whatever rows it is given: a posterior for "
            "those alone. A guide that is made from the data (an encoder) has one for any rows"
        )


# --- encode -------------------------------------------------------------------------------------------
def _encode(sampler: Sampler, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    batch = _batch(sampler, given)
    sampler.found.pair.turn_to(batch)
    run = _run(sampler, Trace(), traced(guide_function(sampler.found.pair), batch))
    found: dict[str, torch.Tensor] = {}
    for site in sampler.structure.named("latent"):
        found[site] = _rows_first(run, site, "guide", run.value(site, "guide")[0])
        _check_rows(sampler, site, found[site], batch)
        found |= _said_of(run, site, "guide")
    return found


# --- decode -------------------------------------------------------------------------------------------
def _latents(sampler: Sampler, batch: Batch) -> dict[str, torch.Tensor]:
    run = sampler.run(batch, "posterior")
    one = _run(sampler, run.model, run.guide)
    found = data_inputs(sampler, batch)
    for name, node in samples(run.model):
        if sampler.structure.sites[name].role in _GIVEN:
            value: torch.Tensor = node["value"].detach()
            missing = sampler.layout.place(("model", name)).ndim - value.ndim  # of what is enumerated for a single row
            value = value.reshape([1] * missing + list(value.shape))
            value = _rows_first(one, name, "model", value).contiguous()
            _check_rows(sampler, name, value, batch)
            found[latent_name(name, found)] = value
    return found


def latent_name(site: str, arguments: Mapping[str, Any]) -> str:
    """What the value of a latent site is called, beside arguments that may have its name."""
    return f"{site}.value" if site in arguments else site


def _decode(sampler: Sampler, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    batch = _batch(sampler, given)
    arguments = data_inputs(sampler, batch)
    sampler.found.pair.turn_to(batch)
    values = Trace()
    for site in sampler.structure.sites.values():
        if site.role in _GIVEN:
            value = _rows_back(sampler, site.name, given[latent_name(site.name, arguments)])
            values.add_node(site.name, type="sample", name=site.name, value=value, is_observed=False, infer={})
    run = _run(sampler, traced(poutine.replay(sampler.found.pair.model, trace=values), batch), Trace())
    found: dict[str, torch.Tensor] = {}
    for site in sampler.structure.named("observed"):
        found |= _said_of(run, site, "model")
    return found


# --- elbo ---------------------------------------------------------------------------------------------
def _elbo(sampler: Sampler, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    batch = _batch(sampler, given)
    run = sampler.run(batch, "scored")
    one = _run(sampler, run.model, run.guide)
    found = of_run(one, batch.rows)
    if not sampler.global_sites:
        return {"elbo": found.log_weights[0]}
    size = plate_size(Tile(range(1), range(batch.rows), [one], batch), sampler)
    return {"elbo": found.log_weights[0] + (found.global_model - found.global_guide) / size}


def _check_elbo(sampler: Sampler) -> None:
    check_plate(sampler)
    check_local_densities(sampler.use)
    check_common_densities(sampler.use, sums=False)
    if (shared := sampler.global_sites) and sampler.layout.follows:
        raise PairError(
            f"{shared[0]!r} is one for all rows, and its share of a row's bound hangs on how many rows there are; "
            "write their number into the plate"
        )


def _check_encode(sampler: Sampler) -> None:
    if not sampler.structure.named("latent"):
        raise PairError("the guide draws no latent site: there is no code to give")


def _check_decode(sampler: Sampler) -> None:
    if not sampler.structure.named("observed"):
        raise PairError("the model observes no site: there is nothing to say of one")


PARTS = {
    "encode": PairPart("encode", data_inputs, _encode, _check_encode),
    "decode": PairPart("decode", _latents, _decode, _check_decode),
    "elbo": PairPart("elbo", data_inputs, _elbo, _check_elbo),
}


# --- what a distribution says -------------------------------------------------------------------------
def _said_of(run: Run, site: str, side: str) -> dict[str, torch.Tensor]:
    """The parameters of a site's distribution, and its mean and standard deviation where it has them."""
    base = base_of(run.node(site, side)["fn"])
    if is_delta(base):
        return {}  # the point is the draw
    found = {}
    for name in dict.fromkeys([*_own(base), "mean", "stddev"]):
        try:
            with WithoutMasks():  # as of Student's t, some of which have no variance
                value = getattr(base, name)
        except (NotImplementedError, AttributeError, ValueError, RuntimeError):
            continue  # it has none, or none that a graph could say
        if isinstance(value, torch.Tensor):
            found[f"{site}.{name}"] = _parameter(run, site, side, name, value.ndim)
    return found


def _own(base: Any) -> list[str]:
    """The parameters that a distribution was given; of those that make each other, the first where none was."""
    names = list(getattr(base, "arg_constraints", {}))
    own = [name for name in names if name in vars(base) or name not in _ALIKE]
    return own or names[:1]


def _parameter(run: Run, site: str, side: str, name: str, ndim: int) -> torch.Tensor:
    """A parameter of a site's distribution, its rows in front."""
    fn = run.node(site, side)["fn"]
    base = base_of(fn)
    extra = max(0, ndim - len(base.batch_shape) - len(base.event_shape))  # of classes, say, or of a matrix
    value = run.of(site, lambda fn: getattr(base_of(fn), name), side=side, extra=extra)[0]
    place = run.layout.place((side, site), batch=True)
    return value if place.axis is None else value.movedim(place.axis - len(fn.event_shape) - extra, 0)


def _rows_first(run: Run, site: str, side: str, value: torch.Tensor) -> torch.Tensor:
    return rows_first(value, run.layout.place((side, site)).axis)


def _rows_back(sampler: Sampler, site: str, value: torch.Tensor) -> torch.Tensor:
    place = sampler.layout.place(("model", site))
    return value if place.axis is None else value.movedim(0, value.ndim + place.axis)
