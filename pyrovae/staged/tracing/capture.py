"""One training pass as a plain graph of tensor operations, with no Pyro in it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from pyro.ops.provenance import detach_provenance
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.objectives.figures import is_data
from pyrovae.objectives.losses import Loss, loss_and_gradients
from pyrovae.objectives.record import Recorded
from pyrovae.objectives.temper import Tempered
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.trace import Traces, samples, unconstrained
from pyrovae.staged.precision import computing_in
from pyrovae.staged.tracing.batch_reads import BatchReads
from pyrovae.staged.tracing.reads import Guard, Traced, TracedReads, traceable
from pyrovae.staged.tracing.selections import select_in_place
from pyrovae.staged.tracing.unrepeatable import (
    refuse_moving_constants,
    refuse_other_randomness,
    refuse_shapes_that_depend_on_values,
    refuse_unseen_shapes,
    refuse_written_data,
)
from pyrovae.staged.tracing.writes import undone
from pyrovae.staged.unstageable import Unstageable


class Pass(NamedTuple):
    """What makes up a training pass: the loss and the pair under all handlers."""

    loss: Loss
    recorded: Recorded
    fixed: FixedPlate
    tempered: Tempered
    precision: str | None = None


class Inputs(NamedTuple):
    """The tensors that a pass depends on, by what they are."""

    parameters: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]  # what the loss keeps from step to step, by name in Pyro's store
    weights: dict[Any, torch.Tensor]  # the weights of sites that change from step to step
    index: torch.Tensor | None  # the rows of the data that the batch holds
    args: tuple
    kwargs: Mapping[str, Any]

    def flat(self) -> list[torch.Tensor]:
        """All of them in one order."""
        return [*self.held(), *self.weights.values(), *self._index(), *self.leaves()]

    def leaves(self) -> list[torch.Tensor]:
        """Those of the batch."""
        return [leaf for leaf in (*self.args, *self.kwargs.values()) if isinstance(leaf, torch.Tensor)]

    def _index(self) -> list[torch.Tensor]:
        return [] if self.index is None else [self.index]

    def traced(self, *, may_read_batch: bool, like: Sequence[Any] | None) -> Traced:
        """The same by what may be read of them."""
        flat, leaves = self.flat(), self.leaves()
        sources = [*flat[: len(flat) - len(leaves)], *range(len(leaves))]
        others = [*self.parameters.values(), *self.state.values(), *self.weights.values(), *self._index()]
        return Traced(flat, sources, others, may_read_batch, like)

    def held(self) -> list[torch.Tensor]:
        """Those that stay the same objects from step to step."""
        return [*self.parameters.values(), *self.buffers.values(), *self.state.values()]


class Captured(NamedTuple):
    """A pass as a graph: `graph(*inputs.flat())` gives figures, gradients and the new state of the loss."""

    graph: GraphModule
    graded: tuple[str, ...]  # the parameters that got a gradient, in the order of the outputs
    state: tuple[str, ...]  # names of the loss's state, in the order of the outputs after the gradients
    size: int
    guards: tuple[Guard, ...]
    written: tuple[torch.Tensor, ...]  # what a pass writes into, each storage as one flat tensor
    reads: BatchReads | None  # what it has read of the batch
    operations: Sequence[Any]  # all that ran, those included of which the graph needs nothing


def capture(
    one: Pass,
    inputs: Inputs,
    *,
    frozen: Collection[str] = (),
    clip_norm: float | None = None,
    supports: Collection[str] = (),
    may_read_batch: bool = True,
    draws: str | None = None,
    like: Sequence[Any] | None = None,
) -> Captured:
    """Trace one pass, and leave no trace of it: random states, buffers, gradients and Pyro's store are as before.

    Args:
        one: the loss and the pair.
        inputs: what the graph takes in; the pass runs on these very tensors.
        frozen: parameters whose gradients nobody needs.
        clip_norm: the largest norm of all gradients together.
        supports: sites where the last figure is to be NaN if data are outside the likelihood's support.
        may_read_batch: whether the graph may be one for certain values of the batch.
        draws: the line at which the pair was seen to draw random numbers that are not torch's.
        like: the operations that are expected; another one is an error.

    Returns:
        The graph, with parameters as inputs: it computes on the tensors that it is given. Its figures are the
        loss, ELBO, rate and distortion per datum, and the norm of the gradients before clipping.

    Raises:
        Unstageable: the pass does something that a graph cannot repeat.
    """
    flat = inputs.flat()
    if len({id(tensor) for tensor in flat}) != len(flat):
        raise Unstageable("one tensor is given to the pair twice; give it once, or a copy (x.clone())")
    notes: dict[str, Any] = {}
    before = {name: tensor.detach().clone() for name, tensor in inputs.state.items()}
    try:
        with (
            forked_random(),
            warnings.catch_warnings(),
            _shapes_noted_once(),
            undone() as writes,
            traceable(inputs.buffers.values(), inputs.traced(may_read_batch=may_read_batch, like=like)) as reading,
        ):
            warnings.simplefilter("ignore")
            program = _program(one, inputs, notes, reading, frozen=frozen, clip_norm=clip_norm, supports=supports)
            graph = make_fx(program, tracing_mode="real")(*flat)
            refuse_other_randomness(notes, draws)
    except BaseException:
        one.recorded.forget()
        raise
    finally:
        _restore(inputs, before)
    graph.graph.eliminate_dead_code()
    refuse_unseen_shapes(graph, reading)
    rewritten = select_in_place(graph)
    refuse_shapes_that_depend_on_values(graph)
    reads = reading.of_batch(rewritten)
    refuse_moving_constants([*(guard.tensor for guard in reading.guards), *(reads.held if reads else ())], writes)
    refuse_written_data(inputs.leaves(), writes)
    written = tuple(whole for whole, _ in writes.written.values())
    state, guards, operations = tuple(inputs.state), tuple(reading.guards), reading.provenance.operations
    return Captured(graph, notes["graded"], state, notes["size"], guards, written, reads, operations)


def _shapes_noted_once() -> AbstractContextManager[Any]:
    """Note the shapes of all operations in one mode: a mode for each takes longer than all else about it."""
    return tracing(TracingContext(FakeTensorMode()))


def _program(
    one: Pass,
    inputs: Inputs,
    notes: dict[str, Any],
    reading: TracedReads,
    *,
    frozen: Collection[str],
    clip_norm: float | None,
    supports: Collection[str],
) -> Any:
    def program(*flat: torch.Tensor) -> list[torch.Tensor]:
        del flat  # the pass finds the same tensors by itself
        generators = _other_generators()
        for parameter in inputs.parameters.values():
            parameter.grad = None
        with (
            reading.provenance,
            computing_in(one.precision),
            one.fixed.given(inputs.index),
            one.tempered.given(inputs.weights),
        ):
            loss = loss_and_gradients(one.loss, one.recorded, inputs.args, dict(inputs.kwargs))
            outside = _outside_support(one.recorded.last_run(), supports)
            size = one.recorded.size()
            figures = one.recorded.figures()
        graded = {name: p.grad for name, p in inputs.parameters.items() if p.grad is not None and name not in frozen}
        notes.update(graded=tuple(graded), size=size, generators=(generators, _other_generators()))
        if any(gradient.is_sparse for gradient in graded.values()):
            raise Unstageable(
                f"the pair has sparse gradients ({_sparse(graded)}); make the embedding with sparse=False"
            )
        own = torch.as_tensor(loss, dtype=figures.rate.dtype, device=figures.rate.device).detach() / size
        norm, gradients = clipped(list(graded.values()), clip_norm)
        norm = norm.to(own)
        if outside is not None:
            norm = torch.where(outside, torch.nan, norm)
        return [torch.stack([own, *figures, norm]), *gradients, *_state_after(inputs)]

    return program


def _sparse(graded: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(repr(name) for name, gradient in graded.items() if gradient.is_sparse)


def clipped(gradients: Sequence[torch.Tensor], bound: float | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The norm of all gradients, and the gradients scaled down to a bound, as `clip_grad_norm_` does it."""
    if not gradients:
        return torch.zeros(()), []
    norm = torch.stack([torch.linalg.vector_norm(gradient).float() for gradient in gradients]).square().sum().sqrt()
    if bound is None:
        return norm, list(gradients)
    scale = (bound / (norm + 1e-6)).clamp(max=1.0)
    return norm, [gradient * scale.to(gradient.dtype) for gradient in gradients]


def _outside_support(run: Traces | None, sites: Collection[str]) -> torch.Tensor | None:
    """Whether any value at these sites is outside its likelihood's support."""
    found = []
    for name, node in samples(run.model) if run is not None else ():
        if name in sites and is_data(node) and isinstance(node["value"], torch.Tensor):
            try:
                found.append(~node["fn"].support.check(node["value"]).all())
            except (NotImplementedError, ValueError):
                continue  # no support is declared: Pyro does not look, either
    return torch.stack(found).any() if found else None


def _state_after(inputs: Inputs) -> list[torch.Tensor]:
    """What the loss keeps now; Pyro's store holds a new tensor for each entry that was written."""
    store = pyro.get_param_store()
    return [detach_provenance(unconstrained(store[name])).detach() for name in inputs.state]


def _restore(inputs: Inputs, before: Mapping[str, torch.Tensor]) -> None:
    stored: dict[str, Any] = pyro.get_param_store()._params
    for name, tensor in inputs.state.items():
        tensor.data.copy_(before[name])
        if name in stored and detach_provenance(stored[name]) is not tensor:
            pyro.get_param_store()[name] = before[name]
    for parameter in inputs.parameters.values():
        parameter.grad = None


def _other_generators() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()  # noqa: NPY002 - what a user's model may draw from
