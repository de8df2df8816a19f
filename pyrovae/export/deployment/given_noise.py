"""Random numbers of a run taken from outside: each draw of noise is handed in, so that a graph can have it as input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, get_proxy_mode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyrovae.errors import PairError
from pyrovae.staged.pair_code.user_lines import place
from pyrovae.staged.tracing.writes import storage_of, targets

NORMAL, UNIFORM = "standard normal", "uniform"

_aten = torch.ops.aten


class GraphNoise(NamedTuple):
    """One draw of noise.

    Attributes:
        name: `noise.` and the site that draws.
        kind: "standard normal", or "uniform": from 0 to 1, without 1.
        shape: of one run.
        dtype: of its numbers.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def drawn(self) -> torch.Tensor:
        """Numbers of this kind, from torch's generator."""
        make = torch.randn if self.kind == NORMAL else torch.rand
        return make(self.shape, dtype=self.dtype)


# What torch draws of what noise: (noise, then the operation's own arguments behind the tensor that it fills).
_FILLS: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "normal": (NORMAL, lambda noise, mean=0.0, std=1.0, **_: noise * std + mean),
    "uniform": (UNIFORM, lambda noise, low=0.0, high=1.0, **_: noise * (high - low) + low),
    "exponential": (UNIFORM, lambda noise, rate=1.0, **_: -torch.log1p(-noise) / rate),
}
_MAKES = {"randn": NORMAL, "randn_like": NORMAL, "rand": UNIFORM, "rand_like": UNIFORM}


class Origin(NamedTuple):
    """What a tensor is made of: whether of inputs, and of the draw of which site that no given noise makes."""

    inputs: bool = False
    drawn: str | None = None


class GivenNoise(TorchDispatchMode):
    """Inside, what is drawn from standard noise is made of the noise that is given; with none given, it is noted.

    While a graph is traced, it also refuses what a graph cannot repeat: to look at values that depend on its inputs.

    Attributes:
        noted: each draw of noise, in order.
    """

    def __init__(self, given: Sequence[torch.Tensor] | None = None, inputs: Sequence[torch.Tensor] = ()):
        super().__init__()
        self.given = given
        self.noted: list[GraphNoise] = []
        self._sites, self._unread = _SiteNote(), _Unread()
        self._origins = {storage_of(tensor): Origin(inputs=True) for tensor in (*(given or ()), *inputs)}

    def __enter__(self) -> GivenNoise:
        self._sites.__enter__()  # outside of the pair's own handlers, so that it is the last one asked before a draw
        self._unread.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._unread.__exit__(*error)
        self._sites.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors(args, kwargs)
        before = self._of(tensors)
        if torch.Tag.nondeterministic_seeded in func.tags:
            result, drawn = self._random(func, args, kwargs)
            return self._noted(result, before._replace(drawn=drawn or before.drawn, inputs=True), func, args, kwargs)
        if get_proxy_mode() is not None:
            if torch.Tag.data_dependent_output in func.tags:
                self._refuse_dependent(tensors, f"the pair looks at a value ({place()})")
                with disable_proxy_modes_tracing():
                    return func(*args, **kwargs)
            if torch.Tag.dynamic_output_shape in func.tags or func is _aten._pack_padded_sequence.default:
                return self._noted(self._of_known_shape(func, args, kwargs), before, func, args, kwargs)
        return self._noted(func(*args, **kwargs), before, func, args, kwargs)

    # --- what is made of what -------------------------------------------------------------------------
    def origin(self, tensor: torch.Tensor) -> Origin:
        """What a tensor is made of."""
        return self._origins.get(storage_of(tensor), Origin())

    def _of(self, tensors: Sequence[torch.Tensor]) -> Origin:
        found = [self.origin(tensor) for tensor in tensors]
        return Origin(any(one.inputs for one in found), next((one.drawn for one in found if one.drawn), None))

    def _noted(self, result: Any, origin: Origin, func: Any, args: Any, kwargs: Any) -> Any:
        # A storage may have the place of another one that is gone: each new tensor is noted, whatever it is made of.
        for tensor in (*_tensors(result), *targets(func, args, kwargs)):
            self._origins[storage_of(tensor)] = origin
        return result

    def _refuse_dependent(self, tensors: Sequence[torch.Tensor], what: str) -> None:
        found = self._of(tensors)
        if found.inputs or found.drawn:
            raise PairError(
                f"{what} that depends on its data or its draws: what it does then would be done for all data. Choose "
                "by torch.where, or multiply by a mask"
            )

    def _of_known_shape(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A selection by values: by those of the pair's own, or not at all."""
        if func is _aten.index.Tensor:
            return func(args[0], [number for one in args[1] for number in self._as_numbers(one)])
        by = [args[1]] if func is _aten._pack_padded_sequence.default else _tensors(args, kwargs)
        self._refuse_dependent(by, f"the pair selects, or cuts, by a value ({place()})")
        if func is _aten._pack_padded_sequence.default:
            return func(*args, **kwargs)
        with disable_proxy_modes_tracing():
            return func(*args, **kwargs)

    def _as_numbers(self, index: Any) -> Sequence[Any]:
        """A mask as whole numbers, one index for each of its dims."""
        if not isinstance(index, torch.Tensor) or index.dtype not in (torch.bool, torch.uint8):
            return [index]
        self._refuse_dependent([index], f"the pair selects by a mask ({place()})")
        with disable_proxy_modes_tracing():
            return index.nonzero(as_tuple=True)

    # --- draws ----------------------------------------------------------------------------------------

    def _random(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, str | None]:
        """What an operation draws, and the site whose draw no given noise makes."""
        name, overload = func._schema.name.removeprefix("aten::"), func._overloadname
        filled = name.removesuffix("_functional").removesuffix("_")
        if name == "normal" and overload in ("Tensor_Tensor", "Tensor_float", "float_Tensor"):
            mean, std = args[:2]
            tensors = [one for one in (mean, std) if isinstance(one, torch.Tensor)]
            shape = torch.broadcast_shapes(*(one.shape for one in tensors))
            return self._noise(NORMAL, shape, tensors[0].dtype) * std + mean, None
        if filled in _FILLS and args and isinstance(args[0], torch.Tensor):
            kind, function = _FILLS[filled]
            own = {key: value for key, value in kwargs.items() if key != "generator"}
            drawn = function(self._noise(kind, args[0].shape, args[0].dtype), *args[1:], **own)
            return (args[0].copy_(drawn) if func._schema.is_mutable else drawn), None
        if name in _MAKES:
            like = args[0] if name.endswith("_like") else None
            shape = like.shape if like is not None else args[0]
            dtype = kwargs.get("dtype") or (like.dtype if like is not None else torch.get_default_dtype())
            return self._noise(_MAKES[name], shape, dtype).clone(), None
        return func(*args, **kwargs), self._sites.name or f"outside of every site, in {place()}"

    def _noise(self, kind: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        site = self._sites.name
        first = f"noise.{site}" if site else "noise"
        before = sum(one.name == first or one.name.startswith(f"{first}#") for one in self.noted)
        noise = GraphNoise(f"{first}#{before + 1}" if before else first, kind, tuple(map(int, shape)), dtype)
        self.noted.append(noise)
        return noise.drawn() if self.given is None else self.given[len(self.noted) - 1]


class WithoutMasks(TorchDispatchMode):
    """Inside, a selection by a mask is an error: how much it selects hangs on how many rows there are."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _aten.index.Tensor and any(one.dtype == torch.bool for one in _tensors(args[1])):
            raise PairError("a graph for any number of rows selects nothing by a mask")
        return func(*args, **(kwargs or {}))


class _SiteNote(Messenger):
    """Which site draws."""

    def __init__(self):
        super().__init__()
        self.name = ""

    def _pyro_sample(self, msg) -> None:
        self.name = "" if msg["done"] or msg["is_observed"] else msg["name"]

    def _pyro_post_sample(self, msg) -> None:
        self.name = ""


class _Unread(TorchFunctionMode):
    """Inside, what torch does with a look at values that it needs for an error alone, it does without one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.one_hot:
            return _one_hot(*args, **(kwargs or {})) if get_proxy_mode() is not None else func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _one_hot(labels: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    if num_classes < 0:
        raise PairError(
            f"the pair asks its data how many classes there are ({place()}): give one_hot their number, num_classes="
        )
    return (labels.unsqueeze(-1) == torch.arange(num_classes, device=labels.device)).long()


def _tensors(*given: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]
