"""A run read row by row, and the same run on rows that moved on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError
from pyrovae.pairs.lawful_values import filled
from pyrovae.pairs.looks.isolation import restart
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.trace import Traces, batch_rows, samples

Move = Callable[[torch.Tensor, int], torch.Tensor]  # of a tensor's rows, which stand in an axis


class ByRow:
    """A run read row by row.

    Attributes:
        traces: the run.
        plate: the plate that holds the rows.
        local: each local site's node and its frame of that plate, by side and name.
    """

    def __init__(self, traces: Traces, data_plate: str):
        self.traces, self.plate = traces, data_plate
        self.local = {
            (side, name): (node, frame)
            for side, trace in (("guide", traces.guide), ("model", traces.model))
            for name, node in samples(trace)
            for frame in node["cond_indep_stack"]
            if frame.name == data_plate and frame.dim is not None
        }

    @property
    def size(self) -> tuple[int, int] | None:
        """Length and full size of the data plate."""
        sizes = {(int(frame.size), int(frame.full_size or frame.size)) for _, frame in self.local.values()}
        return sizes.pop() if len(sizes) == 1 else None

    def by_row(self) -> Iterator[tuple[tuple[str, str], torch.Tensor]]:
        """Of each local site a number a row that its distribution decides: densities, or the place of a point."""
        for key, (node, frame) in self.local.items():
            fn, value = node["fn"], node["value"]
            point = getattr(fn, "v", None) if "Delta" in type(fn).__name__ else None
            found = fn.log_prob(value) if point is None else _summed(point, fn.event_dim)
            axis = found.ndim + frame.dim
            if _holds_rows(found, axis, frame):
                yield key, found.movedim(axis, 0).flatten(1).sum(1) if found.ndim > 1 else found

    def centres(self) -> Iterator[tuple[tuple[str, str], torch.Tensor]]:
        """Of each observed site the mean of a row, which may move where the density does not: a multinomial's total."""
        for (side, name), (node, frame) in self.local.items():
            given = node["is_observed"] and not is_deterministic(node)
            centre = _mean(node["fn"]) if side == "model" and given else None
            if centre is not None:
                axis = centre.ndim - node["fn"].event_dim + frame.dim
                if _holds_rows(centre, axis, frame):
                    yield ("mean", name), centre.movedim(axis, 0).flatten(1).sum(1) if centre.ndim > 1 else centre

    def check_shapes(self) -> None:
        """Refuse observed values of another number of rows than the plate's."""
        for name, length, size in self.other_lengths():
            raise PairError(
                f"the pair observes {length:,} rows of its own at {name!r}, and is asked about {size:,}: "
                "give all rows that it was made for"
            )

    def other_lengths(self) -> Iterator[tuple[str, int, int]]:
        """Observed sites of another number of rows than the plate's, with both."""
        for (_, name), (node, frame) in self.local.items():
            axis = node["value"].ndim - node["fn"].event_dim + frame.dim
            length = node["value"].shape[axis] if 0 <= axis < node["value"].ndim else 1
            lacks_event = loose_dims(node)  # then the dims of its values are not those that are meant
            if node["is_observed"] and frame.size > 0 and length not in (1, frame.size) and not lacks_event:
                yield name, length, int(frame.size)

    def local_draws(self, move: Move) -> Trace:
        """What was drawn for single rows, points left out, for a batch whose rows are moved."""
        moved = Trace()
        for (side, name), (node, frame) in self.local.items():
            value = node["value"]
            axis = value.ndim - node["fn"].event_dim + frame.dim
            whole = _holds_rows(value, axis, frame)
            drawn = side == "guide" or (name not in self.traces.guide.nodes and not node["is_observed"])
            if drawn and whole and "Delta" not in type(node["fn"]).__name__:
                moved.add_node(name, **{**node, "value": move(value.detach(), axis), "is_observed": False})
        return moved

    def draws(self, move: Move) -> Trace:
        """The same, and what it drew for all rows together."""
        held = self.local_draws(move)
        for name, node in samples(self.traces.guide):
            if ("guide", name) not in self.local:
                held.add_node(name, **{**node, "value": node["value"].detach(), "is_observed": False})
        return held

    def again(
        self, pair: HasPair, args: tuple, kwargs: Mapping[str, Any], held: Trace, move: Move, *, seed: int = 0
    ) -> ByRow:
        """The pair on moved rows, with what was drawn for them."""
        args, kwargs = moved_rows(args, kwargs, move)
        restart(seed)
        guide = poutine.trace(poutine.replay(pair.guide, trace=held)).get_trace(*args, **kwargs)
        # What the model draws alone, too, which it would enumerate elsewhere.
        alone = poutine.replay(pair.model, trace=held)
        model = poutine.trace(filled(poutine.replay(alone, trace=guide))).get_trace(*args, **kwargs)
        return ByRow(Traces(model, guide), self.plate)


def loose_dims(node: Mapping[str, Any]) -> list[int]:
    """Batch dims of a site that no plate accounts for."""
    shape = node["fn"].batch_shape
    frames = {frame.dim for frame in node["cond_indep_stack"] if frame.vectorized}
    return [dim for dim in range(-len(shape), 0) if dim not in frames and shape[dim] > 1]


def _holds_rows(tensor: torch.Tensor, axis: int, frame: Any) -> bool:
    return 0 <= axis < tensor.ndim and frame.size in (tensor.shape[axis], -1)  # -1: a plate that says no size


def _mean(fn: Any) -> torch.Tensor | None:
    try:
        return fn.mean
    except (NotImplementedError, AttributeError):  # a distribution that has no mean says so in either way
        return None


def _summed(point: torch.Tensor, event_dim: int) -> torch.Tensor:
    return point.flatten(-event_dim).sum(-1) if event_dim else point


def moved_rows(args: tuple, kwargs: Mapping[str, Any], move: Move) -> tuple[tuple, dict[str, Any]]:
    """A batch whose rows are moved."""

    def moved(leaf: Any) -> Any:
        return move(leaf, 0) if isinstance(leaf, torch.Tensor) and leaf.ndim else leaf

    return tuple(map(moved, args)), {name: moved(leaf) for name, leaf in kwargs.items()}


def rolled(count: int) -> Move:
    """Rows that move on by some places, the last ones to the front."""
    return lambda tensor, axis: tensor.roll(count, axis)


def first_rows(count: int) -> Move:
    """The first rows alone."""
    return lambda tensor, axis: tensor.narrow(axis, 0, count)


def last_rows(count: int) -> Move:
    """The last rows alone."""
    return lambda tensor, axis: tensor.narrow(axis, tensor.shape[axis] - count, count)


def as_before(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Rows where they were, in memory of their own."""
    return tensor.clone()


def nudged(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Rows where they were, each number that is not whole the next one towards 0, which stays in its support."""
    if not tensor.is_floating_point():
        return tensor.clone()
    tensor = tensor.detach()
    return torch.where(tensor == tensor.round(), tensor, torch.nextafter(tensor, torch.zeros_like(tensor)))


def differing(one: ByRow, other: ByRow, move: Move) -> list[tuple[str, str]]:
    """The sides and sites of which a run on moved rows says something else of the same rows than the run before."""
    there = {**dict(other.by_row()), **dict(other.centres())}
    return [
        key
        for key, rows in chain(one.by_row(), one.centres())
        if key not in there or not _close(move(rows, 0), there[key])
    ]


def going_astray(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], before: ByRow, *moves: Move
) -> list[tuple[str, str]]:
    """Local sites that do not go along with the rows in any of the moves, where all draws do.

    Returns:
        Side and name of each; the side is "mean" for an observed site's mean, which may move where no density does.
    """

    def run(move: Move, seed: int = 0) -> ByRow:
        return before.again(pair, args, kwargs, before.draws(move), move, seed=seed)

    base = run(as_before)
    found = [one for move in moves for one in differing(base, run(move), move)]
    if not found:
        return []
    # These draw numbers beside sites, or move with the last digit of any number, which batches round differently (a
    # guide that was not trained, on data of hundreds): nothing can be said.
    others = [run(as_before, 1)]
    with suppress(Exception):  # code of the author's that takes the very numbers alone
        others.append(run(nudged))
    restless = {name for other in others for _, name in differing(base, other, as_before)}
    return [(side, name) for side, name in dict.fromkeys(found) if name not in restless]


class Moving(NamedTuple):
    """Local sites whose distribution in a row moves with the rows beside it.

    Attributes:
        found: side and name of each, as of `going_astray`.
        ordered: whether they move with the mere order of the rows, too: the pair has data, or an order, of its own.
    """

    found: list[tuple[str, str]]
    ordered: bool = False


def moving_with_others(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], before: ByRow) -> Moving:
    """Look for them: both halves of the batch are run alone, since the largest of all rows stands in one of them."""
    rows, size = batch_rows(args, kwargs) or 0, before.size
    if rows < 4 or size is None or size[0] not in (rows, -1):
        return Moving([])
    halves = first_rows(rows // 2), last_rows(rows // 2)
    try:
        found = going_astray(pair, args, kwargs, before, *halves)
        return Moving(found, bool(found) and bool(going_astray(pair, args, kwargs, before, rolled(1))))
    except Exception:
        return Moving([])  # it does not run on other rows, or has no densities; others say so


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    one, other = one.detach(), other.detach()
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)
