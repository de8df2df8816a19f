"""One lane for each shape of batch: from the plain path to a graph and on to compiled code, checked at each change."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.staged import graphs
from pyrovae.staged.capturing import Captured, Inputs, capture, clipped
from pyrovae.staged.comparing import Outcome, difference
from pyrovae.staged.compiling import Function
from pyrovae.staged.products import onednn_is_faster, product
from pyrovae.staged.reading import Unstageable
from pyrovae.staged.replaying import Replayed
from pyrovae.staged.surroundings import Host, Settings
from pyrovae.staged.updating import Fused, Update, make_update
from pyrovae.staged.vigilance import Vigil
from pyrovae.staged.watching import Field, Walk


class Broken(Exception):
    """What the graph computes is not what the pair computes; the words say what differs."""


class Lane:
    """The batches of one shape, and the graph that trains on them."""

    def __init__(self, settings: Settings, host: Host, vigil: Vigil):
        self.settings = settings
        self.host = host
        self.vigil = vigil
        self.last: Walk | None = None  # what an examined pass has left behind
        self.examined = False
        self.version: int | None = None  # of the pair that the graph was made from
        self.count = 0
        self.function: Function | None = None
        self.captured: Captured | None = None
        self.constants: list[torch.Tensor] = []
        self.seconds: deque[float] = deque(maxlen=15)
        self._update: Update | None = None
        self._weights: dict[Any, torch.Tensor] = {}
        self._moving: list[torch.Tensor] = []  # what a pass writes into: running averages, say
        self._held: list[torch.Tensor] = []
        self._rebound: list[Field] = []  # where a pass puts tensors in the place of others

    # --- plain ----------------------------------------------------------------------------------------

    def plain(self, batch: Batch) -> torch.Tensor:
        """One step by Pyro's own pass."""
        figures = self.host.plain_pass(batch)
        self.vigil.passed()
        return self._finished(figures)

    def _finished(self, figures: torch.Tensor) -> torch.Tensor:
        figures = self.host.finish(figures)
        self.host.update()
        return figures

    def examine(self, batch: Batch) -> torch.Tensor:
        """One step by Pyro's own pass, with a look at what it reads and changes; after two, the lane is `examined`.

        Raises:
            Broken: no graph can follow the pair. The step has been made; its figures are the second argument.
        """
        storages = [(parameter, parameter.data_ptr()) for parameter in self.host.parameters.values()]
        before, reason = self._look() if self.last is not None else (None, None)
        figures = self.vigil.seen(lambda: self.host.plain_pass(batch))
        after, words = self._look()
        if any(parameter.data_ptr() != storage for parameter, storage in storages):
            reason = "the pair puts other numbers behind a parameter (.data = ...)"
        if after is not None:
            words = self._examine(before, after)
        reason = reason or words
        self.vigil.passed()
        figures = self._finished(figures)
        reason = self.host.agree(reason)
        if reason is not None:
            raise Broken(reason, figures)
        return figures

    def _look(self) -> tuple[Walk | None, str | None]:
        try:
            return self.vigil.look(), None
        except Unstageable as error:
            return None, str(error)
        except Exception as error:  # an object of the user's that cannot be asked for its attributes, say
            return None, f"what the pair keeps cannot be looked at ({type(error).__name__}: {error})"

    def _examine(self, before: Walk | None, after: Walk) -> str | None:
        last, self.last = self.last, after
        if last is None or before is None:
            return None
        try:
            self._rebound = self.vigil.compare(last, before, after)
        except Unstageable as error:
            return str(error)
        self.examined, self.version = True, self.vigil.version
        return None

    def forget(self) -> None:
        """Begin anew: the pair is not what it was."""
        self.count, self.version, self.last, self.examined, self._rebound = 0, None, None, False, []
        self.seconds.clear()

    # --- from plain to staged -------------------------------------------------------------------------

    def capture(self, batch: Batch) -> None:
        """Trace a pass on this batch; the lane is ready for `checked` then.

        Raises:
            Unstageable: the pair does something that a graph cannot repeat.
        """
        frozen = {name for name in self.host.parameters if self.settings.optimiser.frozen(name)}
        self._weights = {
            k: torch.tensor(w, device=device_of(batch)) for k, w in self.settings.one.tempered.moving().items()
        }
        inputs = self._inputs(batch)
        before = [(field.words, field.now()) for field in self._rebound]
        captured = capture(
            self.settings.one,
            inputs,
            frozen=frozen,
            clip_norm=None if self.settings.shared else self.settings.clip_norm,
            supports=self.host.validated if self.settings.check_support else (),
        )
        module = captured.graph
        graphs.simplify(module)
        self.constants = graphs.lift_constants(module, len(inputs.flat()))
        _refuse_carried(before, self.constants)
        graphs.replace_products(module, onednn_is_faster, product)
        graphs.plain(module)
        self._moving = list(captured.written)
        self._held = [*inputs.parameters.values(), *inputs.buffers.values()]
        self.captured, self.function, self._update = captured, module, None
        self.vigil.passed()

    def examples(self, batch: Batch) -> list[torch.Tensor]:
        """The inputs of the graph for a batch."""
        weights = self.settings.one.tempered.moving()
        for key, tensor in self._weights.items():
            tensor.fill_(weights[key])
        leaves = [leaf for leaf in (*batch.args, *batch.kwargs.values()) if isinstance(leaf, torch.Tensor)]
        index = [] if batch.positions is None else [_on(batch.positions, leaves)]
        return [*self._held, *self.host.loss_state.values(), *self._weights.values(), *index, *leaves, *self.constants]

    def checked(self, batch: Batch) -> torch.Tensor:
        """One plain step, beside which the graph is computed and compared.

        Raises:
            Broken: they differ; the step has been made all the same, by Pyro's own pass. Its figures are the
                second argument of the error.
        """
        before = self._snapshot()
        figures = self.host.plain_pass(batch)
        self.vigil.passed()
        plain = self._outcome(figures, self._local_gradients())
        try:
            reason = self._compare(batch, before, plain) if bool(figures.isfinite().all()) else None
        finally:
            self._restore(plain)
        figures = self._finished(figures)
        reason = self.host.agree(reason)
        if reason is not None:
            raise Broken(reason, figures)
        self.agree_on_changes()
        return figures

    def _local_gradients(self) -> dict[str, torch.Tensor]:
        """The gradients of the plain pass as the graph gives them."""
        live = {name: _gradient(p) for name, p in self.host.live().items()}
        bound = None if self.settings.shared else self.settings.clip_norm
        if bound is None or any(gradient.is_sparse for gradient in live.values()):
            return live
        return dict(zip(live, clipped(list(live.values()), bound)[1], strict=True))

    def repeats(self, batch: Batch) -> str | None:
        """What differs between the function and the plain pass on a batch; nothing is changed by the look."""
        before = self._snapshot()
        figures = self.host.plain_pass(batch)
        plain = self._outcome(figures, self._local_gradients())
        try:
            return self._compare(batch, before, plain)
        finally:
            self._restore(before)

    def guards_hold(self) -> bool:
        """Whether all values that were read while tracing are the same."""
        guards = self.captured.guards if self.captured is not None else ()
        return not any(guard.may_have_moved() for guard in guards)

    def _compare(self, batch: Batch, before: Outcome, plain: Outcome) -> str | None:
        assert self.captured is not None
        guard = next((g for g in self.captured.guards if not g.holds()), None)
        if guard is not None:
            return f"a value that the pair read has changed from {guard.value}"
        if set(plain.state) != set(self.captured.state):
            return "the loss keeps other things than before"
        self._restore(before)
        try:
            figures, gradients, state = self._run(batch)
        except Exception as error:
            return f"it does not run ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        self._keep(state)
        staged = self._outcome(figures[:4], dict(zip(self.captured.graded, gradients, strict=True)))
        return difference(plain, staged, low_precision=self.settings.one.precision is not None)

    # --- staged ---------------------------------------------------------------------------------------

    def staged(self, batch: Batch, step: int) -> torch.Tensor:
        """One step by the graph; where its figures go bad, by Pyro's own pass, which says what is wrong."""
        before = self._snapshot()
        figures, gradients, state = self._final(batch)
        if not all(map(math.isfinite, figures.tolist())):
            self._restore(before)
            figures = self.plain(batch)
            self.agree_on_changes()
            return figures
        self._keep(state)
        self.update(gradients, step, None)
        return figures[:4]

    def staged_blindly(self, batch: Batch, step: int, bad: torch.Tensor) -> torch.Tensor:
        """One step by the graph that nobody looks at; from the first bad one on, `bad` is 1 and no update is made."""
        figures, gradients, _ = self._final(batch)
        torch.maximum(bad, (~torch.isfinite(figures).all()).to(bad.dtype), out=bad)
        self.update(gradients, step, bad)
        return figures.clone()  # a replayed graph writes its next figures to the same place

    @torch.no_grad()
    def replay(self, batch: Batch) -> None:
        """Record the graph on the device, for a lane whose steps need not be looked at."""
        assert self.function is not None
        before, examples = self._snapshot(), self.examples(batch)
        end = len(examples) - len(self.constants)
        moving = range(len(self._held) + len(self._weights), end)
        self.function = Replayed(self.function, examples, moving)
        self._restore(before)

    @property
    def may_wait(self) -> bool:
        """Whether steps may be made without a look at their figures."""
        return not self._moving and not self.host.loss_state and isinstance(self._updating(), Fused)

    def update(self, gradients: Sequence[torch.Tensor], step: int, bad: torch.Tensor | None) -> None:
        """Move the parameters."""
        self._updating()(gradients, step, bad)

    def _updating(self) -> Update:
        assert self.captured is not None
        if self._update is None or not self._update.holds():
            live = {name: self.host.parameters[name] for name in self.captured.graded}
            self._update = make_update(self.settings.optimiser, live)
        return self._update

    def random(self) -> torch.Tensor:
        """The state of the generator that the pair draws from."""
        return _random(self._held)

    def set_random(self, state: torch.Tensor) -> None:
        """Put that state back."""
        _set_random(self._held, state)

    @torch.no_grad()
    def _final(self, batch: Batch) -> tuple[torch.Tensor, Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        """Figures, gradients and state by the graph, of the whole batch where others have parts of it."""
        figures, gradients, state = self._run(batch)
        if self.settings.shared:
            if self.vigil.pending is not None:
                figures = torch.full_like(figures, math.nan)  # tells the others, which make this step plain, too
            figures, gradients = self.host.together(figures, gradients)
            norm, gradients = clipped(gradients, self.settings.clip_norm)
            figures[4] = torch.where(figures[4].isnan(), figures[4], norm.to(figures))  # one process's flag stays
        return figures, gradients, state

    def pend(self, words: str) -> None:
        """Something that the graph was made of is another thing now."""
        self.vigil.pending = words
        if not self.settings.shared:
            self.vigil.turn_old(words)

    def agree_on_changes(self) -> None:
        """Tell all processes what one of them has noticed; from the next step on all go plain."""
        words = self.host.agree(self.vigil.pending) if self.settings.shared else None
        if words is not None:
            self.vigil.turn_old(words)

    @torch.no_grad()
    def _run(self, batch: Batch) -> tuple[torch.Tensor, Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        assert self.captured is not None
        assert self.function is not None
        outputs = self.function(*self.examples(batch))
        end = 1 + len(self.captured.graded)
        return outputs[0], outputs[1:end], outputs[end:]

    @torch.no_grad()
    def _keep(self, state: Sequence[torch.Tensor]) -> None:
        for tensor, value in zip(self.host.loss_state.values(), state, strict=True):
            tensor.data.copy_(value)

    # --- before and after -----------------------------------------------------------------------------

    def _inputs(self, batch: Batch) -> Inputs:
        leaves = [leaf for leaf in (*batch.args, *batch.kwargs.values()) if isinstance(leaf, torch.Tensor)]
        index = None if batch.positions is None else _on(batch.positions, leaves)
        host, buffers = self.host, self.settings.buffers
        return Inputs(
            dict(host.parameters), buffers, dict(host.loss_state), self._weights, index, batch.args, batch.kwargs
        )

    def _snapshot(self) -> Outcome:
        return self._outcome(torch.empty(0), {})

    def _outcome(self, figures: torch.Tensor, gradients: Mapping[str, torch.Tensor]) -> Outcome:
        buffers = {str(place): tensor.clone() for place, tensor in enumerate(self._moving)}
        state = {name: tensor.detach().clone() for name, tensor in self.host.loss_state.items()}
        return Outcome(figures, gradients, buffers, state, _random(self._held))

    @torch.no_grad()
    def _restore(self, outcome: Outcome) -> None:
        for tensor, value in zip(self._moving, outcome.buffers.values(), strict=True):
            tensor.copy_(value)
        for name, tensor in self.host.loss_state.items():
            if name in outcome.state:
                tensor.data.copy_(outcome.state[name])
        _set_random(self._held, outcome.random)

    # --- time -----------------------------------------------------------------------------------------

    def typical(self) -> float:
        """The median of the last steps' seconds."""
        return statistics.median(self.seconds) if self.seconds else math.nan


def _refuse_carried(before: Sequence[tuple[str, Any]], constants: Sequence[torch.Tensor]) -> None:
    read = {id(tensor) for tensor in constants}
    for words, tensor in before:
        if id(tensor) in read:
            raise Unstageable(f"the pair counts its passes, or keeps something from one to the next: {words}")


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def device_of(batch: Batch) -> torch.device:
    """Where a batch is."""
    return next((leaf.device for leaf in batch.leaves.values() if isinstance(leaf, torch.Tensor)), torch.device("cpu"))


def _on(index: torch.Tensor, leaves: Sequence[torch.Tensor]) -> torch.Tensor:
    return index.to(leaves[0].device, non_blocking=True) if leaves else index


def _random(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The state of the generator that a pair on these tensors draws from."""
    device = tensors[0].device if tensors else torch.device("cpu")
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random(tensors: Sequence[torch.Tensor], state: torch.Tensor) -> None:
    device = tensors[0].device if tensors else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
