"""What is run for each kind of draw: guide and model under handlers, once, by whatever route."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from unittest import mock

import torch
from pyro import poutine
from pyro.infer import infer_discrete
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import SubsampleMessenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample

from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.lawful_values import Fill
from pyrovae.pairs.pair import HasPair, Side, Wrapped, guide_function
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, batch_rows, samples, with_rows

Kind = Literal["posterior", "predictive", "generative", "prior", "scored", "guide"]


class Unobserve(Messenger):
    """Draw observed sites; Pyro's `uncondition` would also draw factors and deterministic sites."""

    def _pyro_sample(self, msg) -> None:
        kept = is_deterministic(msg) or type(msg["fn"]).__name__ == "Unit" or site_is_subsample(msg)
        if msg["is_observed"] and not kept:
            msg["is_observed"] = False
            msg["value"] = None
            msg["done"] = False


class WholePlate(Wrapped):
    """A pair whose data plate holds all rows that it is given, whatever subsample its author wrote.

    The rows keep the plate's own size where that is written into it, since parameters are indexed by it; the scale
    that comes of that is taken out again where log-probabilities are read.
    """

    def __init__(self, pair: HasPair, data_plate: str | None, *, follows: bool):
        self.pair = pair
        self.data_plate = data_plate
        self.follows = follows  # whether the plate's size is that of the batch
        self.rows = 0
        self.positions: torch.Tensor | None = None

    def turn_to(self, batch: Batch) -> None:
        """Hold the rows of a batch."""
        self.rows, self.positions = batch.rows, batch.positions

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """All rows in the data plate, and anything behind masks."""
        original, rows = SubsampleMessenger._subsample, batch_rows(args, kwargs) or self.rows

        # A handler could give the index, but not another number of rows than the author's `subsample_size`.
        def whole(name, size=None, subsample_size=None, subsample=None, use_cuda=None, device=None):
            if name != self.data_plate or size is None or subsample is not None:
                return original(name, size, subsample_size, subsample, use_cuda, device)
            return size, rows, self._index(rows, int(size), device)

        with mock.patch.object(SubsampleMessenger, "_subsample", staticmethod(whole)), Fill():
            yield

    def _index(self, rows: int, size: int, device: Any) -> torch.Tensor:
        known = self.positions
        if self.follows or known is None or int(known.max()) >= size:
            known = torch.arange(rows) % size
        return known.to(device) if device is not None else known


@contextmanager
def plates_noted(names: dict[str, None]) -> Iterator[None]:
    """Note the name of every plate with a size that is entered."""
    original = SubsampleMessenger._subsample

    def noted(name, size=None, *args):
        if size is not None:
            names[name] = None
        return original(name, size, *args)

    with mock.patch.object(SubsampleMessenger, "_subsample", staticmethod(noted)):
        yield


def cut(batch: Batch, rows: int) -> Batch:
    """The first rows of a batch."""
    if rows == batch.rows:
        return batch
    args, kwargs = with_rows(batch.args, batch.kwargs, rows)
    return Batch(args, kwargs, None if batch.positions is None else batch.positions[:rows])


def traced(program: Callable[..., Any], batch: Batch) -> Trace:
    """One run of a model or a guide on a batch."""
    return poutine.trace(program).get_trace(*batch.args, **batch.kwargs)


def run_once(pair: HasPair, batch: Batch, structure: Structure, kind: Kind, shared: Trace | None = None) -> Traces:
    """One run of guide and model.

    Args:
        pair: the pair, its data plate held.
        batch: the batch, where the pair takes it.
        structure: the pair's.
        kind: "posterior": the guide's draws, the model run against them and the data; "predictive": the guide's draws,
            observed sites drawn anew; "generative": global sites from the guide, the others from the model; "prior":
            all from the model; "scored": as "posterior", but sites that the model enumerates hold all their values;
            "guide": the guide alone.
        shared: values of sites that are not drawn but given.
    """
    given = shared if shared is not None else Trace()
    if kind == "prior":
        return Traces(traced(Unobserve()(poutine.replay(pair.model, trace=given)), batch), Trace())
    guide = traced(poutine.replay(guide_function(pair), trace=given), batch)
    held = only_global(guide, structure) if kind == "generative" else guide
    return Traces(run_against(pair, batch, structure, kind, held), held)


def run_against(pair: HasPair, batch: Batch, structure: Structure, kind: Kind, guide: Trace) -> Trace:
    """The model's run of a kind, against what the guide drew."""
    if kind == "guide":
        return Trace()
    if kind == "scored":
        return _enumerated(pair, batch, guide)
    if structure.named("enumerated") and kind != "generative":
        model = _with_discrete_sites(pair, batch, structure, guide)
        if kind == "posterior":
            return model
        held = _latent_values(model, structure)
        return traced(Unobserve()(poutine.replay(pair.model, trace=held)), batch)
    model = poutine.replay(pair.model, trace=guide)
    return traced(model if kind == "posterior" else Unobserve()(model), batch)


def only_global(guide: Trace, structure: Structure) -> Trace:
    """The guide's draws outside the data plate."""
    return _picked(guide, {name for name in guide.nodes if name in structure.sites and not structure.sites[name].local})


def _latent_values(model: Trace, structure: Structure) -> Trace:
    return _picked(model, {*structure.named("latent"), *structure.named("enumerated")})


def _picked(trace: Trace, names: set[str]) -> Trace:
    kept = Trace()
    for name, node in samples(trace):
        if name in names:
            kept.add_node(name, **{**node, "is_observed": False})  # Pyro replays what was drawn, not what was given
    return kept


def _with_discrete_sites(pair: HasPair, batch: Batch, structure: Structure, guide: Trace) -> Trace:
    """The model's run; sites that it enumerates are drawn from their posterior, where replay would draw the prior."""
    # Conditioned, not replayed: a replayed site is done before enumeration can note what it depends on.
    drawn: Any = {site: guide.nodes[site]["value"] for site in structure.named("latent")}
    model: Callable[..., Any] = poutine.condition(pair.model, data=drawn)
    sampled = infer_discrete(model, first_available_dim=-1 - _depth(guide, traced(model, batch)), temperature=1)
    return traced(sampled, batch)


def _enumerated(pair: HasPair, batch: Batch, guide: Trace) -> Trace:
    plain = traced(poutine.replay(pair.model, trace=guide), batch)
    if not any(node["infer"].get("enumerate") for _, node in samples(plain)):
        return plain
    # Replay outside: a site that was replayed first is done before enumeration can note what it depends on.
    first = -1 - _depth(guide, plain)
    return traced(poutine.replay(poutine.enum(pair.model, first_available_dim=first), trace=guide), batch)


def _depth(*traces: Trace) -> int:
    """How many dims to the left of the events the plates take."""
    frames = [frame.dim for trace in traces for _, node in samples(trace) for frame in node["cond_indep_stack"]]
    return -min((dim for dim in frames if dim is not None), default=0)


def depth(traces: Traces) -> int:
    """How many dims to the left of the events the plates of a run take."""
    return _depth(traces.guide, traces.model)
