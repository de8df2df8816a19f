"""Where the rows of the data stand in each site's tensors, found by two runs of different length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.errors import PairError
from pyrovae.pairs.trace import Traces, samples

Key = tuple[str, str]  # ("model" or "guide", site)


class Place(NamedTuple):
    """How a tensor of a site looks in a single run."""

    ndim: int
    axis: int | None  # of the rows, counted from the right; None where there is none


class Layout(NamedTuple):
    """The places of the rows, by side and site: in values, and in log-probabilities."""

    values: Mapping[Key, Place]
    batches: Mapping[Key, Place]
    follows: bool  # whether the data plate's size is that of the batch

    def place(self, key: Key, *, batch: bool = False) -> Place:
        """The place of the rows in a value, or in a log-probability."""
        found = (self.batches if batch else self.values).get(key)
        if found is None:
            raise comes_and_goes(key[1])
        return found


def comes_and_goes(name: str) -> PairError:
    """The refusal where a run has a site that another one has not."""
    return PairError(
        f"the pair has {name!r} in some runs and not in others (a branch or a loop that follows a draw), and this "
        "figure needs the same sites in each. fit, rate_distortion and predictions of what is always observed stand; "
        "for the rest, draw the site in every run, and let the branch decide by torch.where or poutine.mask whether it "
        "counts."
    )


def learn_layout(one: Traces, other: Traces | None, data_plate: str | None, rows: int) -> Layout:
    """Compare a run with one of another number of rows.

    Args:
        one: a run.
        other: a run on fewer rows; None where the pair takes no other number.
        data_plate: the plate of the rows.
        rows: how many rows `one` has.
    """
    values, batches, sizes = {}, {}, []
    for side in ("model", "guide"):
        nodes = dict(samples(getattr(one, side)))
        others = dict(samples(getattr(other, side))) if other is not None else {}
        for name, node in nodes.items():
            twin = others.get(name)
            values[side, name] = _value_place(node, twin, data_plate, rows)
            batches[side, name] = _batch_place(node, twin, data_plate)
            sizes += _full_sizes(node, twin, data_plate)
    return Layout(values, batches, follows=any(before != after for before, after in sizes))


def _full_sizes(node: Mapping[str, Any], twin: Mapping[str, Any] | None, data_plate: str | None) -> list[tuple]:
    if twin is None:
        return []
    pairs = zip(node["cond_indep_stack"], twin["cond_indep_stack"], strict=False)
    return [(a.full_size, b.full_size) for a, b in pairs if a.name == b.name == data_plate]


def _value_place(node: Mapping[str, Any], twin: Mapping[str, Any] | None, data_plate: str | None, rows: int) -> Place:
    shape = tuple(node["value"].shape)
    if data_plate is None:
        return Place(len(shape), None)
    if twin is not None:
        return Place(len(shape), _moved(shape, tuple(twin["value"].shape)))
    axis = _framed(node, data_plate)
    axis = None if axis is None else axis - len(node["fn"].event_shape)
    if axis is None or -axis > len(shape) or shape[axis] != rows:
        # A deterministic site may have no event dims of its own: its rows stand where their number does.
        inside = any(frame.name == data_plate for frame in node["cond_indep_stack"])
        axis = next((i - len(shape) for i, size in enumerate(shape) if size == rows), None) if inside else None
    return Place(len(shape), axis)


def _batch_place(node: Mapping[str, Any], twin: Mapping[str, Any] | None, data_plate: str | None) -> Place:
    shape = tuple(node["fn"].batch_shape)
    if data_plate is None:
        return Place(len(shape), None)
    if twin is not None:
        return Place(len(shape), _moved(shape, tuple(twin["fn"].batch_shape)))
    axis = _framed(node, data_plate)
    return Place(len(shape), axis if axis is not None and -axis <= len(shape) else None)


def _moved(shape: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """The first axis, from the right, whose length differs."""
    if len(shape) != len(other):
        return None
    return next((i - len(shape) for i, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b), None)


def _framed(node: Mapping[str, Any], data_plate: str) -> int | None:
    return next((f.dim for f in node["cond_indep_stack"] if f.name == data_plate), None)


def fold_rows(tensor: torch.Tensor, place: Place, draws: int) -> torch.Tensor:
    """Rows that hold every datum `draws` times -> draws in front, (draws, ...)."""
    if place.axis is None or -place.axis > tensor.ndim or tensor.shape[place.axis] == 1:
        return tensor.expand(draws, *tensor.shape)
    length = tensor.shape[place.axis]
    axis = place.axis % tensor.ndim
    return tensor.unflatten(axis, (draws, length // draws)).movedim(axis, 0)


def unfold_rows(folded: torch.Tensor, place: Place) -> torch.Tensor:
    """(draws, ...) -> rows that hold every datum `draws` times, what `fold_rows` takes apart."""
    if place.axis is None:
        raise ValueError("no axis holds the rows")
    axis = folded.ndim + place.axis
    return folded.movedim(0, axis - 1).flatten(axis - 1, axis)


def fold_plate(tensor: torch.Tensor, place: Place, draws: int) -> torch.Tensor:
    """A tensor from a run inside an outer plate -> (draws, ...), with the dims of a single run behind."""
    if tensor.ndim <= place.ndim:
        return tensor.expand(draws, *tensor.shape)
    own = tensor.shape[tensor.ndim - place.ndim :]
    lead = tensor.shape[: tensor.ndim - place.ndim]
    if lead.numel() == 1:
        return tensor.reshape(own).expand(draws, *own)
    if lead.numel() != draws or lead[0] != draws:
        raise ValueError(f"dims {tuple(lead)} stand where {draws} draws should")
    return tensor.reshape(draws, *own)


def fold_single(tensor: torch.Tensor, place: Place, draws: int) -> torch.Tensor:
    """A tensor of one run -> (1, ...)."""
    return tensor.unsqueeze(0)
