"""One training step as a graph: traced once, run on any batch of its shape, and compared with Pyro's own pass."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.staged.batch_leaves import device_of, leaves_of, set_random
from pyrovae.staged.compiler import Function
from pyrovae.staged.outcome_difference import Outcome, Outputs, difference
from pyrovae.staged.pair_code.fields import Field, put_back
from pyrovae.staged.replayed import Replayed
from pyrovae.staged.rewriting.rewritten import rewritten
from pyrovae.staged.routes.inert_reads import print_of, same_print
from pyrovae.staged.settings import Settings
from pyrovae.staged.tracing.capture import Captured, Inputs, capture, clipped
from pyrovae.staged.unstageable import Unstageable, words_of
from pyrovae.staged.weight_update import Fused, Update, make_update

logger = logging.getLogger("pyrovae")

_now = time.perf_counter


class GraphStep:
    """A pass on one shape of batch as a graph, with all that it reads and writes, and the update that follows it.

    Which function runs is not its own matter: `module` does, and whatever is compiled or recorded of it.

    Attributes:
        captured: the pass as it was traced.
        module: a function of `examples` that gives figures, gradients and the new state of the loss.
        reads: the values of the batch that it holds for; None for all.
        inert: which of these values make no difference, as far as is known.
    """

    def __init__(self, settings: Settings, batch: Batch, rebound: Sequence[Field] = (), draws: str | None = None):
        """Trace a pass on a batch, and leave no trace of it.

        Args:
            settings: the training's.
            batch: the batch, on its device.
            rebound: where passes put tensors in the place of others, which the graph must not read.
            draws: the line at which the pair was seen to draw random numbers that are not torch's.

        Raises:
            Unstageable: the pair does something that a graph cannot repeat.
        """
        self._one, self._shown, self._buffers = settings.one, settings.shown, settings.buffers
        self._optimiser, self._clip_norm = settings.optimiser, settings.clip_norm
        weights = settings.one.tempered.moving().items()
        self._weights = {key: torch.tensor(weight, device=device_of(batch)) for key, weight in weights}
        inputs = self._inputs(batch)
        before = [(field.words, field.now()) for field in rebound]
        self._rebound = rebound
        self._capture = functools.partial(
            capture,
            settings.one,
            frozen={name for name in inputs.parameters if settings.optimiser.frozen(name)},
            clip_norm=settings.clip_norm,
            supports=settings.shown.validated if settings.check_support else (),
            may_read_batch=not settings.shared,
            draws=draws,
        )
        self.captured = self._trace(inputs)
        self.reads = self.captured.reads
        self.inert: set[int] = set()
        self._print = print_of(self.captured) if self.reads is not None and any(self.reads.numbers) else None
        self.module, self._shorter, self._constants = rewritten(self.captured.graph, inputs.flat())
        _refuse_carried(before, [*self._constants, *(self.reads.held if self.reads else ())])
        self._graded = {name: inputs.parameters[name] for name in self.captured.graded}
        self._held = [*inputs.parameters.values(), *inputs.buffers.values()]
        self._update: Update | None = None
        self._check_reads(batch)

    def _trace(self, inputs: Inputs, like: Sequence[Any] | None = None) -> Captured:
        with put_back(self._rebound):
            return self._capture(inputs, like=like)

    def shorten(self, batch: Batch) -> None:
        """Take the shorter graph, where there is one that computes the same in less time; all is left as it was."""
        if self._shorter is not None and self._is_better(self._shorter, batch):
            self.module = self._shorter
        self._shorter = None

    def _is_better(self, module: Function, batch: Batch) -> bool:
        before, seconds, outcomes = self.snapshot(), list[float](), list[Outcome]()
        try:
            for function in 2 * (self.module, module):
                start = _now()
                outcomes.append(self._repeated(function, batch, before))
                seconds.append(_now() - start)
        except Exception:  # of any operation; the graph as it is does as well
            logger.debug("a shorter graph does not run", exc_info=True)
            return False
        finally:
            self.restore(before)
        faster = min(seconds[1::2]) < min(seconds[::2])
        return faster and difference(*outcomes[:2], low_precision=self._one.precision is not None) is None

    def _check_reads(self, batch: Batch) -> None:
        """Refuse to look at values, before each step, by what gives others each time."""
        random = self.random() if self.reads is not None else None
        words = self._misread(batch)
        if words is None and random is not None and not torch.equal(random, self.random()):
            set_random(random, self._device)
            words = "a value that the pair reads of its batch depends on random draws"
        if words is not None:
            raise Unstageable(words)

    def _misread(self, batch: Batch) -> str | None:
        """Which value of a batch is another one than the graph holds for, in words."""
        if self.reads is None:
            return None
        values = self.reads.of(leaves_of(batch))
        pairs = zip(values or (), self.reads.values, strict=values is not None)
        if values is not None and all(place in self.inert or now == was for place, (now, was) in enumerate(pairs)):
            return None
        return f"a value that the pair read of its batch is another one ({self.reads.words})"

    def repeats(self, batch: Batch) -> bool:
        """Whether a pass on another batch, traced anew, is this graph: what is read of both does not reach it."""
        if self._print is None:
            return False
        try:
            return same_print(self._print, print_of(self._trace(self._inputs(batch), like=self.captured.operations)))
        except Exception:
            return False  # on such a batch the pair does something else

    def _inputs(self, batch: Batch) -> Inputs:
        leaves = leaves_of(batch)
        index = None if batch.positions is None else _on(batch.positions, leaves)
        parameters, state = dict(self._shown.parameters), dict(self._shown.loss_state)
        return Inputs(parameters, self._buffers, state, self._weights, index, batch.args, batch.kwargs)

    # --- run ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def run(self, function: Function, batch: Batch) -> Outputs:
        """Figures, gradients and the new state of the loss, by a function of `examples`."""
        outputs = function(*self.examples(batch))
        end = 1 + len(self.captured.graded)
        return Outputs(outputs[0], outputs[1:end], outputs[end:])

    def examples(self, batch: Batch) -> list[torch.Tensor]:
        """The inputs of the graph for a batch."""
        weights = self._one.tempered.moving()
        for key, tensor in self._weights.items():
            tensor.fill_(weights[key])
        leaves = leaves_of(batch)
        index = [] if batch.positions is None else [_on(batch.positions, leaves)]
        state, weighted = self._shown.loss_state.values(), self._weights.values()
        return [*self._held, *state, *weighted, *index, *leaves, *self._constants]

    @torch.no_grad()
    def recorded(self, function: Function, batch: Batch) -> Function:
        """The same function as kernels that a device replays, for steps that need not be looked at."""
        before, examples = self.snapshot(), self.examples(batch)
        moving = range(len(self._held) + len(self._weights), len(examples) - len(self._constants))
        replayed = Replayed(function, examples, moving)
        self.restore(before)
        return replayed

    def guards_hold(self) -> bool:
        """Whether all values that were read while tracing are the same."""
        return not any(guard.may_have_moved() for guard in self.captured.guards)

    # --- compare --------------------------------------------------------------------------------------

    def compare(
        self,
        function: Function,
        batch: Batch,
        before: Outcome,
        figures: torch.Tensor,
        live: Mapping[str, torch.Tensor],
    ) -> str | None:
        """What a function computes otherwise than Pyro's own pass, in words; all is left as that pass left it.

        Args:
            function: of `examples`.
            batch: the batch.
            before: the snapshot before Pyro's pass.
            figures: what the pass gave.
            live: the parameters that it gave a gradient.
        """
        plain = self._outcome(figures, self._clipped(live))
        try:
            return self._difference(function, batch, before, plain) if bool(figures.isfinite().all()) else None
        finally:
            self.restore(plain)

    def _difference(self, function: Function, batch: Batch, before: Outcome, plain: Outcome) -> str | None:
        guard = next((g for g in self.captured.guards if not g.holds()), None)
        if guard is not None:
            return f"a value that the pair read has changed from {guard.value}"
        misread = self._misread(batch)
        if misread is not None:
            return misread
        if set(plain.state) != set(self.captured.state):
            return "the loss keeps other things than before"
        try:
            staged = self._repeated(function, batch, before)
        except Exception as error:
            return f"it does not run ({words_of(error)})"
        staged = staged._replace(figures=staged.figures.to(plain.figures.device))
        return difference(plain, staged, low_precision=self._one.precision is not None)

    def _repeated(self, function: Function, batch: Batch, before: Outcome) -> Outcome:
        """What a function leaves behind, from a state that was before."""
        self.restore(before)
        figures, gradients, state = self.run(function, batch)
        self.keep(state)
        return self._outcome(figures[:4], dict(zip(self.captured.graded, gradients, strict=True)))

    def _clipped(self, live: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The gradients of Pyro's pass as the graph gives them."""
        gradients = {name: _gradient(parameter) for name, parameter in live.items()}
        if self._clip_norm is None or any(gradient.is_sparse for gradient in gradients.values()):
            return gradients
        return dict(zip(gradients, clipped(list(gradients.values()), self._clip_norm)[1], strict=True))

    def snapshot(self) -> Outcome:
        """All that a pass may write into, as it is now."""
        return self._outcome(torch.empty(0), {})

    def _outcome(self, figures: torch.Tensor, gradients: Mapping[str, torch.Tensor]) -> Outcome:
        buffers = {str(place): tensor.clone() for place, tensor in enumerate(self.captured.written)}
        state = {name: tensor.detach().clone() for name, tensor in self._shown.loss_state.items()}
        return Outcome(figures, gradients, buffers, state, self.random())

    @torch.no_grad()
    def restore(self, outcome: Outcome) -> None:
        """Put back what was there."""
        for tensor, value in zip(self.captured.written, outcome.buffers.values(), strict=True):
            tensor.copy_(value)
        for name, tensor in self._shown.loss_state.items():
            if name in outcome.state:
                tensor.data.copy_(outcome.state[name])
        set_random(outcome.random, self._device)

    @property
    def _device(self) -> torch.device:
        return self._held[0].device if self._held else torch.device("cpu")

    def random(self) -> torch.Tensor:
        """The state of the generator that the pair draws from."""
        device = self._device
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    # --- after a run ----------------------------------------------------------------------------------

    @torch.no_grad()
    def keep(self, state: Sequence[torch.Tensor]) -> None:
        """Give the loss its new state."""
        for tensor, value in zip(self._shown.loss_state.values(), state, strict=True):
            tensor.data.copy_(value)

    def update(self, gradients: Sequence[torch.Tensor], step: int, bad: torch.Tensor | None) -> None:
        """Move the parameters; not where the tensor `bad` is 1."""
        self._updating()(gradients, step, bad)

    def _updating(self) -> Update:
        if self._update is None or not self._update.holds():
            self._update = make_update(self._optimiser, self._graded)
        return self._update

    @property
    def may_wait(self) -> bool:
        """Whether steps may be made without a look at their figures: one that goes bad then changes nothing."""
        return not self.captured.written and not self._shown.loss_state and isinstance(self._updating(), Fused)


def _refuse_carried(before: Sequence[tuple[str, Any]], constants: Sequence[torch.Tensor]) -> None:
    read = {id(tensor) for tensor in constants}
    for words, tensor in before:
        if id(tensor) in read:
            raise Unstageable(f"the pair counts its passes, or keeps something from one to the next: {words}")


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _on(index: torch.Tensor, leaves: Sequence[torch.Tensor]) -> torch.Tensor:
    return index.to(leaves[0].device, non_blocking=True) if leaves else index
