"""Any pair for data with holes: what is missing counts nowhere, and the guide is given something in its place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.errors import ArgumentError, PairError, PyrovaeError
from pyrovae.pairs.argument_names import positional_names
from pyrovae.pairs.declared import declared
from pyrovae.pairs.lawful_values import keep_missing
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.looks.state_keeper import kept
from pyrovae.pairs.may_read import may_read
from pyrovae.pairs.pair import HasPair, Wrapped, check_is_pair, unwrapped
from pyrovae.pairs.part_observed import holes_in, is_kept_by_casts, observing, where_missing
from pyrovae.pairs.points import is_deterministic

Fill = float | torch.Tensor | Mapping[int | str, "float | torch.Tensor"]


def masked(pair: HasPair, *, fill: Fill | None = None) -> Masked:
    r"""A pair around a pair that takes data with holes (NaN).

    The model's observed sites count what is there: with o the observed cells of a row,

    \[ \log p(x_o, z) = \log p(z) + \sum_{i \in o} \log p(x_i \mid z) \]

    where cells are independent given z; of a `MultivariateNormal` the marginal of the observed part counts; other joint
    events have to be seen whole or not at all. Everything takes the pair as any other: `fit` (with
    `objectives.IWAE(K)`, a MIWAE), `elbo`, `log_evidence`, predictions, `impute`.

    A guide sees `fill` in the place of holes. If its signature has a parameter `mask` (or `x_mask` beside an argument
    `x`), it is given what is there, too: True where a cell is observed. So is the model, which may so observe the mask.

    Args:
        pair: any pair. Its model may use the data by `obs=` alone, cut, cast or rescaled cell by cell.
        fill: for the guide: a number (0 where it is left out), a tensor of one row's shape, or either of them by
            argument name or place.

    Returns:
        The pair, with the same arguments.

    References:
        Mattei and Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data sets" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> pair = pv.masked(truth)
        >>> pv.log_evidence(pair, torch.tensor([[1.0, float("nan"), float("nan")]]), draws=1000).value.shape
        torch.Size([1])
    """
    check_is_pair(pair)
    if isinstance(pair, Masked):
        return pair if fill is None else Masked(pair.pair, fill)
    return Masked(pair, 0.0 if fill is None else fill)


class Masked(Wrapped):
    """A pair whose observed sites count what is there; its guide sees `fill` in place of holes. See `masked`."""

    def __init__(self, pair: HasPair, fill: Fill = 0.0):
        self.pair, self.fill = pair, fill
        self._checked: set[int | str] = set()

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """The pair's model; what is missing of observed values counts nowhere."""
        inner = self.pair.model
        masks = _masks_for(inner, args, kwargs)
        names = {**dict(enumerate(_names(inner, args))), **{name: name for name in (*kwargs, *masks)}}
        try:
            self._check_each(args, {**kwargs, **masks}, names)
            with kept(unwrapped(self).model), _Cells(_named(args, kwargs, names)):
                return inner(*args, **kwargs, **masks)
        except (ValueError, IndexError) as error:
            leaves = {**dict(enumerate(args)), **kwargs, **masks}
            read = [] if isinstance(error, PyrovaeError) else self._read_holes(leaves)
            if not read:
                raise
            raise PairError(
                f"the model computes with what is missing in {' and in '.join(repr(names[key]) for key in read)}: "
                f"without these holes it runs, and with them it stops ({type(error).__name__}). That is so, too, where "
                "it goes on with the value that pyro.sample(..., obs=) returns. Let it use these data by obs= alone, "
                "or fill what it reads beforehand."
            ) from error

    def _read_holes(self, leaves: Mapping[int | str, Any]) -> list[int | str]:
        """The arguments whose holes alone stop the model, which runs without; all that have holes where none does."""
        holed = [key for key, leaf in leaves.items() if _has_holes(leaf)]
        if not holed or not self._runs({key: _without_holes(leaf) for key, leaf in leaves.items()}):
            return []  # the author's code stops in any way it likes, and holes are not why
        return [key for key in holed if not self._runs(_with_holes_of(leaves, key))] or holed

    def _runs(self, leaves: Mapping[int | str, Any]) -> bool:
        try:
            with forked_random(), torch.no_grad(), poutine.block(), _Cells({}):
                self._call(leaves)
        except Exception:
            return False
        return True

    def _call(self, leaves: Mapping[int | str, Any]) -> None:
        places = sorted(key for key in leaves if isinstance(key, int))
        named = {key: leaf for key, leaf in leaves.items() if isinstance(key, str)}
        self.pair.model(*(leaves[place] for place in places), **named)

    def _check_each(self, args: tuple, kwargs: Mapping[str, Any], names: Mapping[int | str, str]) -> None:
        """That the holes of each argument reach what is observed: those of one would hide that another's do not."""
        leaves = {**dict(enumerate(args)), **kwargs}
        holed = [key for key, leaf in leaves.items() if may_read() and _has_holes(leaf)]
        if len(holed) < 2 or set(holed) <= self._checked:
            return
        for key in holed:
            with forked_random(), torch.no_grad(), poutine.block(), _Cells({names[key]: leaves[key]}):
                self._call(_with_holes_of(leaves, key))
        self._checked.update(holed)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The pair's guide, given something in the place of what is missing."""
        inner, names = self.pair.guide, _names(self.pair.guide, args)
        masks = _masks_for(inner, args, kwargs)
        self._check_fill(names, kwargs)
        full = [self._filled(leaf, name, place) for place, (leaf, name) in enumerate(zip(args, names, strict=True))]
        named = {name: self._filled(leaf, name) for name, leaf in kwargs.items()}
        with kept(unwrapped(self).guide):
            return inner(*full, **named, **masks)

    def _check_fill(self, names: list[str], kwargs: Mapping[str, Any]) -> None:
        known = {*names, *range(len(names)), *kwargs}
        if isinstance(self.fill, Mapping) and (unknown := [key for key in self.fill if key not in known]):
            listed = ", ".join(map(repr, [*names, *kwargs]))
            raise ArgumentError(f"fill has {unknown[0]!r}, and the arguments are {listed}.")

    def _filled(self, leaf: Any, name: str, place: int | None = None) -> Any:
        holes = holes_in(leaf) if isinstance(leaf, torch.Tensor) else None
        if holes is None:
            return leaf
        fill = self.fill
        if isinstance(fill, Mapping):
            fill = fill.get(name, 0.0 if place is None else fill.get(place, 0.0))
        put = torch.as_tensor(fill).to(leaf)
        try:
            return torch.where(holes, put, leaf)
        except RuntimeError:
            raise ArgumentError(
                f"fill has the shape {tuple(put.shape)}, and a row of {name!r} {tuple(leaf.shape[1:])}; give a number "
                "or a tensor of one row's shape."
            ) from None


def takes_holes(pair: HasPair) -> bool:
    """Whether what is missing counts nowhere in a pair: one that `masked` made, or that says `takes_holes = True`."""
    while isinstance(pair, Wrapped):
        if isinstance(pair, Masked):
            return True
        pair = pair.pair
    return declared(pair, "takes_holes")


def _names(function: Callable[..., Any], args: tuple) -> list[str]:
    """The names of positional arguments, as far as the function says."""
    known = positional_names(function)
    return [known[place] if place < len(known) else f"argument_{place}" for place in range(len(args))]


def _masks_for(function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What is there, for those parameters that ask for it and are not given."""
    try:
        asked = set(inspect.signature(function).parameters) - set(kwargs) - set(_names(function, args))
    except (TypeError, ValueError):
        return {}
    leaves = {**dict(zip(_names(function, args), args, strict=True)), **kwargs}
    seen = {name: ~where_missing(leaf) for name, leaf in leaves.items() if isinstance(leaf, torch.Tensor) and leaf.ndim}
    found = {f"{name}_mask": one for name, one in seen.items() if f"{name}_mask" in asked}
    if "mask" not in asked or not seen:
        return found
    if len(seen) > 1:
        raise ArgumentError(
            f"{getattr(function, '__name__', 'a function')} has a parameter 'mask', and the data are several arrays "
            f"({', '.join(map(repr, seen))}): name the one that is meant, {next(iter(seen))}_mask."
        )
    return {"mask": next(iter(seen.values())), **found}


def _has_holes(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and bool(where_missing(leaf).any())


def _without_holes(leaf: Any) -> Any:
    return torch.where(where_missing(leaf), 0, leaf) if isinstance(leaf, torch.Tensor) else leaf


def _with_holes_of(leaves: Mapping[int | str, Any], key: int | str) -> dict[int | str, Any]:
    return {one: leaf if one == key else _without_holes(leaf) for one, leaf in leaves.items()}


def _named(args: tuple, kwargs: Mapping[str, Any], names: Mapping[int | str, str]) -> dict[str, Any]:
    return {**{names[place]: leaf for place, leaf in enumerate(args)}, **kwargs}


def _counting(msg: Mapping[str, Any]) -> torch.Tensor:
    """Which elements `poutine.mask` leaves in; all of them where the mask is of a larger batch (enumeration)."""
    mask, fn = torch.as_tensor(True if msg["mask"] is None else msg["mask"]).to(msg["value"].device), msg["fn"]
    if mask.ndim > len(fn.batch_shape) or torch.broadcast_shapes(mask.shape, fn.batch_shape) != fn.batch_shape:
        return torch.ones((), dtype=torch.bool, device=mask.device)
    return mask.bool().reshape((*mask.shape, *[1] * fn.event_dim))


class _Cells(Messenger):
    """Around a model: of what it observes, what is missing counts nowhere."""

    def __init__(self, leaves: Mapping[str, Any]):
        super().__init__()
        # Counted where values may be looked at; a graph is traced of what was looked at before.
        self.holed = {name: leaf for name, leaf in leaves.items() if may_read() and _has_holes(leaf)}
        self.elements = self.hidden = 0
        self.masks = False  # whether the model has masks of its own, which may know of the holes

    def _pyro_sample(self, msg) -> None:
        value = msg["value"]
        self.masks |= msg["mask"] is not None or msg["name"].endswith("_unobserved")
        if not msg["is_observed"] or not isinstance(value, torch.Tensor) or site_is_subsample(msg):
            return
        if type(msg["fn"]).__name__ == "Unit" or is_deterministic(msg):
            return
        holes = holes_in(value)
        if may_read():
            self.elements += value.numel()
        if holes is None or (may_read() and not bool(holes.any())):
            return
        if may_read():
            self.hidden += int(holes.sum())
            if not value.is_floating_point() and not is_kept_by_casts(value.device):
                raise PairError(
                    f"{msg['name']!r} observes whole numbers, and {value.device} forgets what is missing when it "
                    "casts: give them as 64-bit numbers, with the lowest one for what is missing."
                )
        msg["fn"] = observing(msg["fn"], ~holes & _counting(msg), msg["name"])
        keep_missing(msg)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        done = super().__exit__(kind, error, trace)
        lost = self.holed and not self.hidden and not self.masks
        if error is None and lost and self.elements >= max(one.numel() for one in self.holed.values()):
            raise PairError(
                f"{' and '.join(map(repr, self.holed))} has holes, and what the model observes has none: it does not "
                "observe these values, or makes something of them (a comparison, a cast to bytes) that does not show "
                "what is missing. Observe the values themselves; fill beforehand what only goes into the model "
                "(x.nan_to_num(0.0)), since no draw is made of it."
            )
        return done
