"""What each particle's traces say of each datum: the terms of its importance weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import ArgumentError
from pyrovae.objectives.figures import PARTICLES, holding_plate, is_data, untempered
from pyrovae.pairs.trace import Traces, samples


class Terms(NamedTuple):
    """log p, log q and score functions of the sites inside the data plate, each (particles, rows).

    The scale that a subsample gives them, and that their author gives all of them, is not in; it is `scale`.
    """

    model: Any
    guide: Any  # a plain 0 where there is nothing, as the others
    score: Any
    scale: float


class Common(NamedTuple):
    """log p - log q of the sites outside the data plate, and their score functions, scaled; scalars."""

    value: Any
    score: Any


def plate_of(model: Trace, rows: int | None, data_plate: str | None) -> str | None:
    """The name of the data plate; None where the batch is one datum.

    Raises:
        ArgumentError: the plate that was named is not there.
    """
    nodes = [node for _, node in samples(model) if node["is_observed"]]
    data = [node["cond_indep_stack"] for node in nodes if is_data(node)]
    stacks = data or [node["cond_indep_stack"] for node in nodes]
    found = holding_plate(stacks, rows, data_plate)
    there = set.intersection(*({frame.name for frame in stack} for stack in stacks)) - {PARTICLES} if stacks else set()
    if found is None and (there or data_plate):
        raise ArgumentError(
            f"the plate of the data is not known: observed sites stand in {', '.join(sorted(there)) or 'no plate'}, "
            f"the batch has {rows} rows and data_plate={data_plate!r}. Name the plate: data_plate=..."
        )
    return found


def frame_of(node: Mapping[str, Any], name: str | None) -> Any:
    """The plate of that name around a site, or None."""
    return next((frame for frame in node["cond_indep_stack"] if frame.name == name), None)


def terms_of(run: Traces, plate: str | None, *, single: bool) -> Terms:
    """The terms of one run, which holds one particle or all of them in Pyro's plate.

    Args:
        run: guide and model, log-probabilities and score parts computed.
        plate: the data plate.
        single: whether there is one particle alone: then log q has the gradient that Pyro's own ELBO gives it.
    """
    shared = _shared_scale(run.model, plate)
    model: Any = 0.0
    guide: Any = 0.0
    score: Any = 0.0
    for node in _inside(run.model, plate):
        model = model + _by_datum(_log_prob(node, plate, shared), node, plate)
    for node in _inside(run.guide, plate):
        guide = guide + _by_datum(_log_q(node, plate, shared, single=single), node, plate)
        if not is_identically_zero(node["score_parts"].score_function):
            score = score + _by_datum(node["score_parts"].score_function, node, plate)
    subsampling = max((_plate_scale(node, plate) for node in _inside(run.model, plate)), default=1.0)
    return Terms(model, guide, score, subsampling * shared)


def common_of(run: Traces, plate: str | None) -> Common:
    """The terms that all particles share."""
    value: Any = 0.0
    score: Any = 0.0
    for node in _outside(run.model, plate):
        value = value + node["log_prob_sum"]
    for node in _outside(run.guide, plate):
        parts = node["score_parts"]
        value = value - _with_gradient_of(parts.entropy_term, node["log_prob"]).sum()
        if not is_identically_zero(parts.score_function):
            score = score + parts.score_function.sum()
    return Common(value, score)


def _inside(trace: Trace, plate: str | None) -> Iterator[dict[str, Any]]:
    """The sites whose terms are weighed; without a data plate all of them."""
    return (node for _, node in samples(trace) if plate is None or frame_of(node, plate) is not None)


def _outside(trace: Trace, plate: str | None) -> Iterator[dict[str, Any]]:
    return (node for _, node in samples(trace) if plate is not None and frame_of(node, plate) is None)


# --- log-probabilities --------------------------------------------------------------------------------
def _log_prob(node: Mapping[str, Any], plate: str | None, shared: float) -> torch.Tensor:
    """Under masks, temper and what the author scales it by beyond what all data have."""
    own = node["scale"] / (_plate_scale(node, plate) * shared)
    return torch.as_tensor(scale_and_mask(node["unscaled_log_prob"], own, node["mask"]))


def _log_q(node: Mapping[str, Any], plate: str | None, shared: float, *, single: bool) -> torch.Tensor:
    log_prob, parts = _log_prob(node, plate, shared), node["score_parts"]
    if not single or is_identically_zero(parts.score_function):
        return log_prob
    return _with_gradient_of(parts.entropy_term / (_plate_scale(node, plate) * shared), log_prob)


def _with_gradient_of(other: Any, value: torch.Tensor) -> torch.Tensor:
    """A value with the gradient of another one: that of a score has the expectation 0, and Pyro leaves it out."""
    return value.detach() + (other - other.detach()) if isinstance(other, torch.Tensor) else value.detach()


def _by_datum(tensor: torch.Tensor, node: Mapping[str, Any], plate: str | None) -> torch.Tensor:
    """A tensor over a site's plates, summed over all but particles and rows: (particles, rows)."""
    axes = [frame.dim for frame in (frame_of(node, PARTICLES), frame_of(node, plate)) if frame is not None]
    axes = [axis for axis in axes if axis is not None]
    tensor = torch.as_tensor(tensor)
    tensor = tensor.reshape((1,) * max(0, max((-axis for axis in axes), default=0) - tensor.ndim) + tensor.shape)
    tensor = tensor.movedim(axes, tuple(range(len(axes))))
    tensor = tensor.flatten(len(axes)).sum(-1) if tensor.ndim > len(axes) else tensor
    if frame_of(node, PARTICLES) is None:
        tensor = tensor.unsqueeze(0)
    return tensor if frame_of(node, plate) is not None else tensor.unsqueeze(-1)


# --- scales -------------------------------------------------------------------------------------------
def _plate_scale(node: Mapping[str, Any], plate: str | None) -> float:
    frame = frame_of(node, plate)
    return float(frame.full_size) / float(frame.size) if frame is not None and frame.size > 0 else 1.0


def _shared_scale(model: Trace, plate: str | None) -> float:
    """What the author scales all data by: it multiplies their bound, and is no exponent within a mean."""
    nodes = [node for node in _inside(model, plate) if is_data(node)]
    scales = [untempered(node)[0] / _plate_scale(node, plate) for node in nodes]
    alike = all(isinstance(scale, int | float) and scale == scales[0] for scale in scales)
    return float(scales[0]) if scales and alike else 1.0
