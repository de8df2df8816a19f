"""Monte Carlo dropout: one mask for each global draw, the same for all data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair, Pair, Side, Wrapped, wrappers
from pyrovae.pairs.structure import inspect
from pyrovae.pairs.trace import batch_rows, run, with_rows
from pyrovae.sampling.use import arguments
from pyrovae.trust.epistemic.few_rows import few_rows
from pyrovae.trust.epistemic.uncertain_weights import free_name
from pyrovae.trust.epistemic.whole_data import plate_of_whole_data

_KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

_CHANNELS = {nn.Dropout: 0, nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}  # dims that a channel has


class Mask(NamedTuple):
    """One dropout module and the shape of its mask: that of its input without the rows."""

    module: nn.Module
    shape: tuple[int, ...]

    @property
    def keep(self) -> float:
        """The probability that an element stays."""
        return 1 - float(getattr(self.module, "p", 0.0))


class Dropped(Wrapped):
    """A pair whose dropout stays on in predictions, with masks at global sites `dropout_0`, `dropout_1`, ...

    In train mode the modules drop as they always do, each datum by itself; the masks are drawn, and used in eval mode.

    Args:
        pair: the pair.
        masks: its dropout modules, by the names of their sites.
        data_plate: the plate of the data.
        size: rows of the whole data.
    """

    def __init__(self, pair: HasPair, masks: Mapping[str, Mask], *, data_plate: str | None, size: int | None):
        self.pair, self.masks, self.data_plate, self.size = pair, dict(masks), data_plate, size

    @classmethod
    def of(
        cls,
        pair: HasPair,
        args: tuple,
        kwargs: Mapping[str, Any],
        *,
        modules: Sequence[nn.Module] | None = None,
        size: int | None = None,
    ) -> Dropped:
        """Find the dropout modules that the model calls, or those of the given modules wherever they are called."""
        inside = None if modules is None else {id(part) for module in modules for part in module.modules()}
        structure = inspect(pair, args, kwargs)
        masks: dict[str, Mask] = {}
        for number, mask in enumerate(_masked_once(pair, found_masks(pair, args, kwargs, inside))):
            masks[free_name(f"dropout_{number}", structure.sites)] = mask
        return cls(pair, masks, data_plate=structure.data_plate, size=size)

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The masks of a draw, by the same distribution around both sides."""
        values = [pyro.sample(site, _mask_distribution(mask)) for site, mask in self.masks.items()]
        if any(value.shape != mask.shape for value, mask in zip(values, self.masks.values(), strict=True)):
            raise PairError("networks run on one mask at a time: leave out vectorize_particles=True, or outer plates.")
        with _hooked(list(self.masks.values()), values), plate_of_whole_data(self.data_plate, self.size):
            yield


def _mask_distribution(mask: Mask) -> Any:
    like = next(mask.module.parameters(), torch.zeros(()))
    return dist.Bernoulli(torch.full(mask.shape, mask.keep, dtype=like.dtype)).to_event(len(mask.shape))


@contextmanager
def _hooked(masks: Sequence[Mask], values: Sequence[Tensor]) -> Iterator[None]:
    """Multiply the modules' outputs by masks, in eval mode, where they would pass everything on."""

    def hook(mask: Mask, value: Tensor) -> Any:
        def multiply(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            return None if module.training else output * (value.to(output) / max(mask.keep, 1e-12))

        return multiply

    handles = [m.module.register_forward_hook(hook(m, v)) for m, v in zip(masks, values, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --- finding them -------------------------------------------------------------------------------------
def found_masks(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], inside: set[int] | None) -> list[Mask]:
    """The dropout modules by the order of their calls; the rows are told from features by a run on fewer rows."""
    rows = batch_rows(args, kwargs)
    if rows is None or rows < 2:
        raise PairError("two rows of data at least are needed to tell rows from features.")
    one, other = (_calls(pair, *with_rows(args, kwargs, count), inside) for count in (rows, rows - 1))
    if not one:
        raise PairError(
            "no dropout module (torch.nn.Dropout and its like) is called "
            f"{'by the model' if inside is None else 'in the modules given'}, so nothing can be dropped. Dropout by "
            "torch.nn.functional cannot be held fixed from outside: use the module."
        )
    found: dict[int, Mask] = {}
    for (module, shape), (_, fewer) in zip(one, other, strict=True):
        mask = Mask(module, _without_rows(shape, fewer, _CHANNELS[_kind(module)]))
        if found.setdefault(id(module), mask).shape != mask.shape:
            raise PairError(
                f"a {type(module).__name__} is used on features of shapes {found[id(module)].shape} and {mask.shape}: "
                "give each place a module of its own."
            )
    return list(found.values())


def _masked_once(pair: HasPair, masks: list[Mask]) -> list[Mask]:
    """The masks, if no wrapper inside drops at the same modules: what two masks leave is less than either says."""
    for inner in wrappers(pair):
        known = {id(mask.module): site for site, mask in inner.masks.items()} if isinstance(inner, Dropped) else {}
        if twice := [known[id(mask.module)] for mask in masks if id(mask.module) in known]:
            raise ArgumentError(
                f"dropout: the pair has masks for these modules already, at {twice[0]!r}. Take it as it is, or name "
                f"other modules ({argument('modules')})."
            )
    return masks


def _kind(module: nn.Module) -> type[nn.Module]:
    return next(kind for kind in _KINDS if isinstance(module, kind))


def _calls(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], inside: set[int] | None
) -> list[tuple[nn.Module, torch.Size]]:
    calls: list[tuple[nn.Module, torch.Size, bool]] = []
    in_model = [False]

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, _KINDS):
            calls.append((module, inputs[0].shape, in_model[0]))

    def model(*args: Any, **kwargs: Any) -> Any:
        in_model[0] = True
        return pair.model(*args, **kwargs)

    handle = nn.modules.module.register_module_forward_hook(note)
    try:
        with isolated(0), torch.no_grad():
            run(Pair(model, pair.guide), args, kwargs)
    finally:
        handle.remove()
    return [(m, shape) for m, shape, by_model in calls if (by_model if inside is None else id(m) in inside)]


def _without_rows(shape: torch.Size, fewer: torch.Size, channel_dims: int) -> tuple[int, ...]:
    axis = next((i for i, (a, b) in enumerate(zip(shape, fewer, strict=True)) if a != b), None)
    kept = [1 if i == axis else size for i, size in enumerate(shape)]
    kept[len(kept) - channel_dims :] = [1] * channel_dims
    while kept and kept[0] == 1 and len(kept) > 1:
        kept = kept[1:]
    return tuple(kept)


def dropout(
    pair: HasPair, /, *data: Any, modules: nn.Module | Sequence[nn.Module] | None = None, **named: Any
) -> HasPair:
    r"""Leave dropout on in predictions: one mask for each global draw, the same for all data.

    \[ m_j \sim \text{Bernoulli}(1 - p), \qquad h \mapsto h \odot m / (1 - p) \]

    A pair that was trained with dropout was trained for this. In train mode the modules drop as they always do.

    Args:
        pair: any pair with `torch.nn.Dropout` modules (or `Dropout1d`, `2d`, `3d`, whose masks drop channels).
        *data: the arguments of model and guide: all rows that the pair will be trained on, or a few where it is trained
            already.
        modules: where to look for dropout modules; left out, those that the model calls.
        **named: keyword arguments of model and guide.

    Returns:
        A pair with the global sites `dropout_0`, `dropout_1`, ...

    References:
        Gal and Ghahramani, "Dropout as a Bayesian approximation" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> decoder = torch.nn.Sequential(torch.nn.Linear(2, 20), torch.nn.Dropout(0.1), torch.nn.Linear(20, 5))
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(decoder), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pair = pv.epistemic.dropout(vae, torch.ones(8, 5))
        >>> (pv.uncertainty(pair, torch.ones(8, 5))["x"].epistemic > 0).all()
        tensor(True)
    """
    batch, rows = few_rows(pair, arguments(pair, data, named))
    chosen = [modules] if isinstance(modules, nn.Module) else modules
    return Dropped.of(pair, *batch[:2], modules=chosen, size=rows)
