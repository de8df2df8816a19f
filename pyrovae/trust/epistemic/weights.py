"""The parameters of a pair as one vector, which can be put in their place from outside."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from pyrovae.errors import PairError
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.looks.module_state import swapped
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair, replaced_parameters
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.pairs.trace import run

ChooseNames = Callable[[HasPair, Structure, tuple, Mapping[str, Any]], list[str]]


class Weights:
    """Some parameters of a pair, unconstrained, in a fixed order.

    The same tensors are trained, saved and moved as before; inside `replaced` the pair runs on others instead. These
    reach it by both ways that a Pyro program gets its parameters: `param` statements, answered by a handler, and
    the modules' own attributes, swapped for the time of the run.

    Attributes:
        names: canonical, such as "decoder.0.weight".
        tensors: what is trained behind each.
        buffers: of the pair's modules, by canonical name.
    """

    def __init__(
        self, structure: Structure, names: Sequence[str], sites: Mapping[str, str], modules: Sequence[nn.Module] = ()
    ):
        tensors = structure.parameters
        # A tensor of two names, as flows of autoguides have one, is one weight.
        self.names = list({id(tensors[name]): name for name in reversed(names)}.values())[::-1]
        self.tensors = [tensors[name] for name in self.names]
        self.buffers = structure.buffers()
        position = {id(tensor): number for number, tensor in enumerate(self.tensors)}
        self._sites = {s: position[id(tensors[n])] for s, n in sites.items() if id(tensors.get(n)) in position}
        roots = [*structure.modules.values(), *modules]
        parts = list({id(part): part for root in roots for part in root.modules()}.values())
        self._holders = list(_holders(parts, self.tensors, "_parameters"))
        self._buffer_holders = list(_holders(parts, list(self.buffers.values()), "_buffers"))

    @classmethod
    def of(
        cls,
        pair: HasPair,
        args: tuple,
        kwargs: Mapping[str, Any],
        choose: ChooseNames | None = None,
    ) -> Weights:
        """The weights of a pair that was run before.

        Args:
            pair: the pair.
            args: a few rows for it.
            kwargs: the same by name.
            choose: names those that are meant; left out, all.
        """
        with _registered_modules() as modules:
            structure = inspect(pair, args, kwargs, data_plate="-")
        names = list(structure.parameters) if choose is None else choose(pair, structure, args, kwargs)
        if not names:
            raise PairError(_without_weights(pair))
        return cls(structure, names, _param_sites(pair, args, kwargs), modules)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(tensor.numel() for tensor in self.tensors)

    def vector(self) -> Tensor:
        """Their present values, (size,), in the widest of their types."""
        return torch.cat([tensor.detach().reshape(-1) for tensor in self.tensors])

    @torch.no_grad()
    def write(self, vector: Tensor, buffers: Sequence[Tensor] = ()) -> None:
        """Put values into the pair for good."""
        for tensor, value in zip([*self.tensors, *self.buffers.values()], [*self._cut(vector), *buffers], strict=False):
            tensor.copy_(value)

    def _cut(self, vector: Tensor) -> list[Tensor]:
        parts = vector.split([tensor.numel() for tensor in self.tensors])
        return [part.view(like.shape).to(like) for part, like in zip(parts, self.tensors, strict=True)]

    @contextmanager
    def replaced(self, vector: Tensor, buffers: Sequence[Tensor] = ()) -> Iterator[None]:
        """Run the pair on other weights.

        Args:
            vector: (size,); gradients flow back into it.
            buffers: as many as `self.buffers`, or none to leave those.
        """
        if vector.dim() != 1:
            raise PairError(
                f"weights came in shape {tuple(vector.shape)}: networks run on one draw of their weights at a time. "
                "Leave out vectorize_particles=True, or outer plates."
            )
        # `pyro.module` warns of tensors that want no gradient in train mode.
        values = [v if v.requires_grad else v.detach().requires_grad_() for v in self._cut(vector)]
        with _Answer(self, values), _swapped(self._holders, values), _swapped(self._buffer_holders, buffers):
            yield


def _without_weights(pair: HasPair) -> str:
    if replaced_parameters(pair):
        return (
            "all parameters that are meant are uncertain already, by a posterior that stands around the pair: take it "
            "as it is, or make another one around the pair as it was before."
        )
    return "the pair has no parameters here, so nothing of it can be uncertain."


Holder = tuple[dict[str, Any], str, int]  # the registry of a module, the name in it, the position among the tensors


def _holders(modules: Sequence[nn.Module], tensors: Sequence[Tensor], registry: str) -> Iterator[Holder]:
    position = {id(tensor): number for number, tensor in enumerate(tensors)}
    for module in modules:
        entries = getattr(module, registry)
        for name, tensor in entries.items():
            # What stands behind a PyroParam is reached by a statement only.
            if id(tensor) in position and name.removesuffix("_unconstrained") not in getattr(
                module, "_pyro_params", ()
            ):
                yield entries, name, position[id(tensor)]


def _swapped(holders: Sequence[Holder], values: Sequence[Tensor]) -> AbstractContextManager[None]:
    if not values:
        return nullcontext()
    return swapped([(entries, name) for entries, name, _ in holders], [values[number] for *_, number in holders])


class _Answer(Messenger):
    """Answers `param` statements with other values, and hides them from the handlers outside."""

    def __init__(self, weights: Weights, values: Sequence[Tensor]):
        super().__init__()
        self.weights, self.values = weights, values
        self.position = {id(tensor): number for number, tensor in enumerate([*weights.tensors])}
        self.position.update({id(value): number for number, value in enumerate(values)})

    def _pyro_sample(self, msg) -> None:
        if self.weights._holders and _holds_networks(msg["fn"]):
            msg["fn"] = _bound(msg["fn"], lambda: _swapped(self.weights._holders, self.values))

    def _pyro_param(self, msg) -> None:
        number = self._number(msg)
        if number is None:
            return
        store: Any = pyro.get_param_store()
        # The store's: a statement without one says `real`, whatever the parameter was made with.
        constraint = store._constraints.get(msg["name"]) or msg["kwargs"].get("constraint") or constraints.real
        value = transform_to(constraint)(self.values[number])
        # As Pyro's own parameters have it, for code that asks a parameter for what is trained.
        value.unconstrained = weakref.ref(self.values[number])
        msg["value"], msg["done"], msg["stop"] = value, True, True

    def _number(self, msg) -> int | None:
        """Which of the tensors a statement is about: that of the store, or else what it brings along."""
        stored = pyro.get_param_store()._params.get(msg["name"])
        brought = next((arg for arg in msg["args"][1:] if isinstance(arg, Tensor)), None)
        for tensor in (stored, brought):
            if tensor is not None and id(tensor) in self.position:
                return self.position[id(tensor)]
        return self.weights._sites.get(msg["name"]) if stored is None else None


# --- distributions with networks inside ---------------------------------------------------------------
def _holds_networks(fn: Any) -> bool:
    """Whether a distribution runs networks when it is drawn from and scored, as flows do."""
    while fn is not None:
        if any(_is_network(transform) for transform in getattr(fn, "transforms", ())):
            return True
        fn = getattr(fn, "base_dist", None)
    return False


def _is_network(transform: Any) -> bool:
    return isinstance(transform, nn.Module) or any(map(_is_network, getattr(transform, "parts", ())))


def _bound(fn: Any, swapped: Callable[[], Any]) -> Any:
    """The same distribution, which runs its networks on these weights also after the pair itself has run.

    ELBOs score a trace once it is complete, when the pair has its own weights again.
    """

    def under(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            with swapped():
                return getattr(super(kind, self), name)(*args, **kwargs)

        return method

    # A class of the same name: what a distribution is, is told by its type in many places.
    methods = {name: under(name) for name in ("log_prob", "sample", "rsample", "__call__")}
    kind = type(type(fn).__name__, (type(fn),), methods)
    bound = copy.copy(fn)
    bound.__class__ = kind
    return bound


@contextmanager
def _registered_modules() -> Iterator[list[nn.Module]]:
    """Modules whose parameters are asked for by name, as `pyro.module` does; some are never called as a whole."""
    found: list[nn.Module] = []
    original = nn.Module.named_parameters

    def noting(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        found.append(module)
        return original(module, *args, **kwargs)

    with mock.patch.object(nn.Module, "named_parameters", noting):
        yield found


def _param_sites(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, str]:
    """The name in a `param` statement -> the canonical one."""
    with isolated(0):
        traces = run(pair, args, kwargs)
    names = [name for trace in (traces.guide, traces.model) for name, n in trace.nodes.items() if n["type"] == "param"]
    names = list(dict.fromkeys(names))
    return dict(zip(names, canonical(names), strict=True))
