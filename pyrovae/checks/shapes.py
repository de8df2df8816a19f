"""Clauses about shapes: which dims are rows, in plates, and which describe one datum, by `to_event`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.checks.finding import Finding
from pyrovae.checks.traced_pair import TracedPair, listed
from pyrovae.pairs.by_row import loose_dims
from pyrovae.pairs.improper import is_of_any_length
from pyrovae.pairs.points import is_deterministic


class _Word(NamedTuple):
    clause: str
    text: str  # what follows "'x' in the model"
    severity: str = "error"


def fitting_shapes(traced: TracedPair) -> Iterator[Finding]:
    """Every batch dim belongs to a plate, events hold one datum, values have their distribution's shape."""
    found: dict[tuple[str, str], tuple[_Word, list[str]]] = {}
    for side, name, node in traced.sites():
        word = (
            _swallowed(traced, side, name, node)
            or _loose(node, traced.rows, traced.structure.data_plate)
            or _observed(node)
        )
        if word:
            found.setdefault((name, word.clause), (word, []))[1].append(side)
    for (name, clause), (word, sides) in found.items():
        yield Finding(clause, word.severity, f"{name!r} in the {' and the '.join(sides)} {word.text}", name)
    yield from _event_sizes(traced, {name for name, _ in found})


def _event_sizes(traced: TracedPair, known: set[str]) -> Iterator[Finding]:
    """A latent site has one event shape on both sides."""
    for name, node, other in traced.shared():
        mine, theirs = tuple(node["fn"].event_shape), tuple(other["fn"].event_shape)
        if mine == theirs or name in known:
            continue
        same = len(mine) == len(theirs)
        mend = (
            f"Give the encoder {theirs[-1]} outputs a datum, or the prior {mine[-1]}."
            if same
            else f"One of them lacks .to_event({max(len(mine), len(theirs))})."
        )
        yield Finding(
            "shape" if same else "to-event",
            "error",
            f"{name!r} has event shape {mine} in the guide and {theirs} in the model. {mend}",
            name,
        )


# --- the rows inside an event ---------------------------------------------------------------------------
def _swallowed(traced: TracedPair, side: str, name: str, node: Mapping) -> _Word | None:
    """`.to_event` has made the rows of the batch part of one event: its size follows the batch."""
    count, event = reinterpreted(node["fn"]), tuple(node["fn"].event_shape)
    by_author = False
    rows = [dim for dim in range(min(count, len(event))) if event[dim] == traced.rows]
    if traced.other is None:
        observed = node["is_observed"] and getattr(node["value"], "ndim", None) == len(event)
        rows = rows[:1] if observed and rows[:1] == [0] and node["cond_indep_stack"] else []
    else:
        twin = getattr(traced.other, side).nodes.get(name)
        after = tuple(twin["fn"].event_shape) if twin else event
        rows = [dim for dim in rows if len(after) == len(event) and after[dim] != event[dim]]
        by_author = bool(rows and twin) and _counts_all(node, event[rows[0]]) == _counts_all(twin, after[rows[0]])
    if not rows:
        return None
    plate = traced.structure.data_plate or "data"
    right = count - rows[-1] - 1
    # All data as one event, outside any plate, is right as long as all data come at once.
    whole = traced.structure.data_plate is None and traced.dataset_size in (None, traced.rows)
    if by_author:
        return _Word(
            "to-event",
            f"has event shape {event}: .to_event({count}) makes the {traced.rows} rows of the batch one datum, which "
            f"its scale counts for {_counts_all(node, event[rows[0]]):g} rows, as Pyro's sparse GP does by num_data=. "
            "That trains rightly, but figures are of all rows, divided by those of a batch, and single rows have none.",
            "warning",
        )
    return _Word(
        "to-event",
        f"has event shape {event}: .to_event({count}) takes the {traced.rows} rows of the batch for one datum. Use "
        f"{f'.to_event({right})' if right else 'no .to_event'}, inside `with pyro.plate({plate!r}, ...)`.",
        "warning" if whole else "error",
    )


def _counts_all(node: Mapping, rows: int) -> float:
    """For how many rows an event that holds some of them is counted: of any batch the same where its author scales."""
    scale = node["scale"]
    return round(float(scale) * rows, 3) if not isinstance(scale, torch.Tensor) or scale.numel() == 1 else math.nan


def reinterpreted(fn: Any) -> int:
    """How many dims `.to_event` has made event dims."""
    count = 0
    while hasattr(fn, "base_dist"):
        count += getattr(fn, "reinterpreted_batch_ndims", 0)
        fn = fn.base_dist
    return count


# --- batch dims outside plates --------------------------------------------------------------------------
def misplaced(node: Mapping, rows: int | None, data_plate: str | None) -> str:
    """What is wrong with the shapes of a site that stands in the plate of the rows, in words; else nothing."""
    if all(frame.name != data_plate for frame in node["cond_indep_stack"]) or is_deterministic(node):
        return ""
    word = _loose(node, rows, data_plate) or _observed(node)
    return word.text if word else ""


def _loose(node: Mapping, rows: int | None, data_plate: str | None) -> _Word | None:
    """Batch dims that no plate accounts for."""
    shape, frames, loose = tuple(node["fn"].batch_shape), _frames(node), loose_dims(node)
    if not loose:
        return None
    batch = _batch_of(node)
    if node["is_observed"] and batch and _fits(batch, frames):
        return _Word("shape", _crossed(node, shape))
    if not frames and shape[loose[0]] == rows:
        plate = data_plate or "data"
        return _Word(
            "batch-outside-plate",
            f"has a batch of shape {shape} outside any plate: Pyro takes its {rows} rows for one datum. Put it "
            f"inside `with pyro.plate({plate!r}, len(x)):`, in model and guide.",
        )
    return _Word("to-event", _too_few(node, shape, frames, loose))


def _frames(node: Mapping) -> dict[int, Any]:
    return {frame.dim: frame for frame in node["cond_indep_stack"] if frame.vectorized}


def _batch_of(node: Mapping) -> tuple[int, ...]:
    """The dims of a value that are left of its event."""
    value, event = node["value"], len(node["fn"].event_shape)
    shape = tuple(getattr(value, "shape", ()))
    return shape[: max(0, len(shape) - event)]


def _fits(batch: tuple[int, ...], frames: Mapping[int, Any]) -> bool:
    return all(batch[dim] == 1 or dim in frames for dim in range(-len(batch), 0))


def _too_few(node: Mapping, shape: tuple[int, ...], frames: Mapping[int, Any], loose: list[int]) -> str:
    stands = listed(frame.name for frame in frames.values())
    dims = f"of which only dims {sorted(frames)} belong to plates ({stands})" if frames else "and stands in no plate"
    right = [dim for dim in loose if dim > max(frames, default=-99)]
    if frames and right:
        return (
            f"has batch shape {shape}, {dims}. Give dims {right} a plate of their own, or add .to_event({len(right)}) "
            f"and let the plate of the data take dim -1."
        )
    more = max(frames, default=0) - loose[0] if frames else -loose[0]
    return f"has batch shape {shape}, {dims}. The rest describe one datum. {_write(node['fn'], more)}"


def _write(fn: Any, more: int) -> str:
    before = reinterpreted(fn)
    if before:
        return f"Write .to_event({before + more}) in place of .to_event({before})."
    return f"Add .to_event({more}) to its distribution."


def _crossed(node: Mapping, shape: tuple[int, ...]) -> str:
    return (
        f"gives every datum {shape[-1]} values for one: its distribution has batch shape {shape}, the observed values "
        f"have shape {tuple(node['value'].shape)}. A column stands against a vector: take the last dim off what the "
        "network gives, net(x).squeeze(-1), or observe a column and add .to_event(1)."
    )


# --- observed values against their distribution ---------------------------------------------------------
def _observed(node: Mapping) -> _Word | None:
    """Values of another shape, which torch would broadcast in silence."""
    value, fn = node["value"], node["fn"]
    if not node["is_observed"] or not isinstance(value, torch.Tensor):
        return None
    event, shape = tuple(fn.event_shape), tuple(value.shape)
    if len(shape) >= len(event) and is_of_any_length(fn):
        event = (shape[-len(event)], *event[1:])
    if shape[len(shape) - len(event) :] != event or len(shape) < len(event):
        return _Word(
            "shape",
            f"has values of shape {shape} under a distribution of event shape {event}: one datum is "
            f"{shape[-len(event) :] if event else ()} in the data. Give the likelihood as many numbers a datum as the "
            "data have, or change .to_event.",
        )
    batch, expected = _batch_of(node), tuple(fn.batch_shape)
    if not _broadcasts_to(batch, expected):
        return _Word(
            "shape",
            f"has values of shape {shape}, where its distribution and its plates ask for {(*expected, *event)}: "
            f"{_why_larger(batch, expected)}.",
        )
    return None


def _why_larger(batch: tuple[int, ...], expected: tuple[int, ...]) -> str:
    more = len(batch) - len(expected)
    if more > 0 and batch[-1] == 1:
        return "a column stands against a vector. Take its last dim off, x.squeeze(-1), or add .to_event(1) on a column"
    if more > 0:
        return f"one datum has {batch[-more:]} numbers, and the distribution gives one. Give it as many, by .to_event"
    return "the number of rows differs. Give every argument the same rows"


def _broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    if len(shape) > len(target):
        return False
    return all(mine in (1, theirs) for mine, theirs in zip(reversed(shape), reversed(target), strict=False))


# --- the same, from an exception -------------------------------------------------------------------------
_IN_PLATE = re.compile(r"Shape mismatch inside plate\('(.*)'\) at site (.*) dim (-\d+), (\d+) vs (\d+)")


def explain_mismatch(text: str, side: str, message: Mapping[str, Any] | None) -> Finding | None:
    """What Pyro means by "Shape mismatch inside plate", if the text says that; else None."""
    match = _IN_PLATE.search(text)
    if match is None or message is None:
        return None
    plate, name, size = match[1], match[2], int(match[4])
    shape, frames = tuple(message["fn"].batch_shape), _frames(message)
    more = next((k for k in range(1, len(shape) + 1) if _in_place(shape[: len(shape) - k], frames)), None)
    start = f"{name!r} in the {side} has batch shape {shape} inside plate {plate!r}, which has {size} rows"
    if more is None:
        return Finding("shape", "error", f"{start}. Give both the same number of rows.", name)
    unsure = "" if size in shape else f" If they are rows: there are {match[5]}, and the plate has {size}."
    return Finding(
        "to-event",
        "error",
        f"{start}: the last {'dim describes' if more == 1 else f'{more} dims describe'} one datum. "
        f"{_write(message['fn'], more)}{unsure}",
        name,
    )


def _in_place(shape: tuple[int, ...], frames: Mapping[int, Any]) -> bool:
    """Whether a batch shape fits the plates known so far, all its dims among them."""
    return all(
        size == 1 or (dim in frames and frames[dim].size == size)
        for dim, size in zip(range(-len(shape), 0), shape, strict=True)
    )
