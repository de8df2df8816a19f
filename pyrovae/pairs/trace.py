"""One run of a pair, and what is read off its traces: sites, plates, rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample

from pyrovae.pairs.lawful_values import filled
from pyrovae.pairs.looks.state_keeper import kept
from pyrovae.pairs.pair import HasPair, guide_function, unwrapped


class Traces(NamedTuple):
    """One run of the guide, and of the model replayed against it."""

    model: Trace
    guide: Trace


# Marks a factor of ours in a site's `infer` dictionary: it enters no figure. Its value is the site it belongs to.
INTERNAL = "_pyrovae_internal"


# --- running a pair ---------------------------------------------------------------------------------
def run(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Traces:
    """Run the guide, then the model against its draws; both traces hold `param` sites too."""
    inner = unwrapped(pair)
    with kept(inner.guide), kept(inner.model):
        guide = poutine.trace(guide_function(pair)).get_trace(*args, **kwargs)
        model = poutine.trace(filled(poutine.replay(pair.model, trace=guide))).get_trace(*args, **kwargs)
    return Traces(model, guide)


def samples(trace: Trace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample sites of a trace, without those that choose subsamples and without factors of our own."""
    for name, node in trace.nodes.items():
        if node["type"] == "sample" and not site_is_subsample(node) and INTERNAL not in (node["infer"] or {}):
            yield name, cast(dict[str, Any], node)


def unconstrained(value: Any) -> torch.Tensor:
    """The tensor that is trained behind a parameter's value."""
    # Parameters that are local to their module are handed out as they are.
    return value.unconstrained() if hasattr(value, "unconstrained") else value


def plate_sizes(trace: Trace) -> dict[str, int]:
    """The full size of every plate of one side that has a dimension."""
    frames = (frame for _, node in samples(trace) for frame in node["cond_indep_stack"])
    return {frame.name: int(frame.full_size or frame.size) for frame in frames if frame.dim is not None}


def plates(traces: Traces) -> dict[str, tuple[int, int]]:
    """Every plate as (length of the subsample, full size)."""
    return {
        frame.name: (int(frame.size), int(frame.full_size or frame.size))
        for trace in (traces.guide, traces.model)
        for _, node in samples(trace)
        for frame in node["cond_indep_stack"]
    }


def tensors_of(args: tuple, kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors of a batch, in order."""
    return [leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, torch.Tensor)]


def batch_rows(args: tuple, kwargs: Mapping[str, Any]) -> int | None:
    """The number of rows of a batch, or None where it holds no tensor with rows."""
    return next((len(leaf) for leaf in tensors_of(args, kwargs) if leaf.ndim), None)


def rows_moved(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], axes: Mapping[str, int | None]
) -> bool:
    """Whether the rows of any value moved by one, as those of an argument did between two runs.

    Args:
        before: the values by site.
        after: those of the other run.
        axes: where the rows of each stand; None is the first axis.
    """
    for name, value in before.items():
        axis = axes.get(name)
        axis = -value.ndim if axis is None else axis
        if value.ndim and not torch.equal(value, after[name]) and torch.equal(value.roll(1, axis), after[name]):
            return True
    return False


def with_rows(args: tuple, kwargs: Mapping[str, Any], rows: int) -> tuple[tuple, dict[str, Any]]:
    """The batch cut, or repeated from its start, to a number of rows."""

    def resized(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or not leaf.ndim:
            return leaf
        return leaf[torch.arange(rows, device=leaf.device) % len(leaf)]

    return tuple(map(resized, args)), {key: resized(leaf) for key, leaf in kwargs.items()}
