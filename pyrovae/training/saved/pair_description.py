"""What a pair is beside its weights, in texts that are the same in another process."""

from __future__ import annotations

import datetime
import enum
import inspect
import logging
import os
import warnings
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import unwrapped, wrappers
from pyrovae.pairs.trace import run
from pyrovae.staged.pair_code.fields import KEYED, PLAIN
from pyrovae.staged.pair_code.reachable import Reachable, innermost
from pyrovae.staged.pair_code.user_code import UserCode, profiled
from pyrovae.staged.pair_code.watch import steady, steady_contents
from pyrovae.training.plan import Plan
from pyrovae.training.saved.fingerprint import fingerprint

# What a library makes and nobody changes: its text is all that there is in it.
_VALUES = (Decimal, Fraction, range, slice, torch.dtype, datetime.date, datetime.time, datetime.timedelta)

# What holds numbers in its attributes, or in others of its kind.
_MADE = (torch.distributions.Distribution, Transform, Constraint)

_HELD = (*_MADE, torch.Tensor, float, int, list, tuple)

# What torchrun tells each process of its place.
_OF_THE_START = frozenset(
    f"os.environ.{os.environ.encodekey(name)}"  # type: ignore[attr-defined]
    for name in (
        "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
    )
)  # fmt: skip


_STARS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS

logger = logging.getLogger("pyrovae")


def describe_pair(plan: Plan) -> dict[str, str]:
    """Sites, parts, settings, constants and frozen weights of a pair, each with its value.

    What one pass changes is left out: counters, caches.
    """
    sites = {f"site {site.name!r}": f"{site.role} in {site.plates}" for site in plan.structure.sites.values()}
    return {**sites, **_modes(plan), **_wrappers(plan.pair), **_held(plan)}


def describe_buffers(plan: Plan) -> dict[str, str]:
    """The values that the pair's buffers begin with."""
    return {name: fingerprint(tensor) for name, tensor in plan.structure.buffers().items()}


def _modes(plan: Plan) -> dict[str, str]:
    """Which parts stand in eval mode on purpose: inside a module that is in train mode."""
    modules = (module for module in plan.structure.modules.values() if module.training)
    return _parts(modules, lambda part: None if part.training else "in eval mode", "modes")


def _kinds(plan: Plan) -> dict[str, str]:
    """The classes of all parts."""
    return _parts(plan.structure.modules.values(), lambda part: type(part).__name__, "parts")


def _parts(modules: Iterable[nn.Module], say: Callable[[nn.Module], str | None], what: str) -> dict[str, str]:
    """What there is to say of the parts of modules, by the classes of those: their names may still be to come."""
    found = defaultdict(list)
    for module in modules:
        said = {name: say(part) for name, part in module.named_modules()}
        found[f"the {what} of {type(module).__name__}"].append(
            ", ".join(f"{n} {w}".strip() for n, w in said.items() if w)
        )
    return {name: "; ".join(sorted(texts)) for name, texts in found.items() if any(texts)}


def _wrappers(pair: Any) -> dict[str, str]:
    """The settings of the package's own wrappers, such as free bits."""
    found = {}
    for layer in wrappers(pair):
        held = {n: v for n, v in vars(layer).items() if not n.startswith("_") and isinstance(v, (*PLAIN, dict))}
        found[f"{type(layer).__name__} around {type(layer.pair).__name__}"] = fingerprint(held)
    return found


def _held(plan: Plan) -> dict[str, str]:
    """What the pair's own code can read, as far as a pass leaves it alone."""
    batch = plan.placement.place(plan.first)
    code = UserCode()
    try:
        with isolated(plan.seed), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(plan.pair, batch.args, batch.kwargs)  # makes what is made at the first call, as the first step does
            with profiled(code):
                run(plan.pair, batch.args, batch.kwargs)
            code.given.clear()  # objects of that pass
            before = _reached(plan, code)
            cached = _cached(plan, before)
            run(plan.pair, batch.args, batch.kwargs)
            after, kinds, trained = _reached(plan, code), _kinds(plan), _trained(plan)
            cached = dict(cached.items() & _cached(plan, after).items())  # what a pass has left alone
    except Exception as error:  # what no walk can follow, an iterator say: the modules' own settings are left
        words = " ".join(str(error).split())[:300]
        logger.warning("what the pair reads beside its modules cannot be compared when it is resumed: %s", words)
        return _parts(plan.structure.modules.values(), fingerprint, "settings")
    return {**kinds, **_texts(trained, before, after), **cached, **_numbers(code)}


def _reached(plan: Plan, code: UserCode) -> Reachable:
    pair, known = unwrapped(plan.pair), 0
    while True:
        reached = Reachable(code, [pair, pair.model, pair.guide, *plan.structure.modules.values()], refuses=False)
        if len(reached.cached) <= known:
            return reached
        known = len(reached.cached)
        for one in reached.cached:  # what they ask objects for counts, too
            code.know(getattr(innermost(one), "__code__", None))


def _texts(trained: set[int], before: Reachable, after: Reachable) -> dict[str, str]:
    found = defaultdict(list)
    for field in steady(before, after):
        text = None if id(field.value) in trained or field.words in _OF_THE_START else _text(field.value)
        if text is not None and not field.words.endswith(".training"):
            found[field.words].append(text)
    for contents in steady_contents(before, after):
        found[contents.words].append(_entries(contents.held))
    return {name: ", ".join(sorted(texts)) for name, texts in found.items()}


def _cached(plan: Plan, reached: Reachable) -> dict[str, str]:
    """Functions that remember what they gave did not run, so that all that they refer to counts."""
    found = defaultdict(list)
    for one in reached.cached:
        found[f"the cached function {innermost(one).__qualname__}"].append(fingerprint([one, _remembered(plan, one)]))
    return {name: ", ".join(sorted(texts)) for name, texts in found.items()}


def _remembered(plan: Plan, cached: Any) -> Any:
    """What a function without arguments has read, from a file say; it is not run for it."""
    code = getattr(cached.__wrapped__, "__code__", None)
    takes = None if code is None else (code.co_argcount, code.co_kwonlyargcount, code.co_flags & _STARS)
    if takes != (0, 0, 0) or not cached.cache_info().currsize:
        return None
    value = cached()
    return None if id(value) in _trained(plan) or not isinstance(value, (*PLAIN, torch.Tensor, np.ndarray)) else value


def _trained(plan: Plan) -> set[int]:
    """Parameters and buffers, while a guide holds what it has set up: parts that the first call has made have some."""
    return {id(tensor) for tensor in (*plan.structure.parameters.values(), *plan.structure.buffers().values())}


def _entries(held: Any) -> str:
    """The plain values in a container, where each stands."""
    pairs = list(held.items()) if isinstance(held, KEYED) else [(None, entry) for entry in held]
    texts = [f"{fingerprint(key)}: {fingerprint(entry)}" for key, entry in pairs if isinstance(entry, PLAIN)]
    return fingerprint(texts if isinstance(held, list | tuple | deque) else sorted(texts))


def _text(value: Any) -> str | None:
    """A value of its own; what is inside of others is looked at there."""
    if isinstance(value, torch.Tensor):
        return None if value.requires_grad else fingerprint(value)
    if isinstance(value, _MADE):
        return None if isinstance(value, nn.Module) else fingerprint(_numbers_of(value))
    if isinstance(value, enum.Enum):
        return fingerprint([value.name, value.value])
    if isinstance(value, array) or (hasattr(type(value), "__array__") and not isinstance(value, np.ndarray)):
        return fingerprint(np.asarray(value))  # a column of pandas, say
    return fingerprint(value) if isinstance(value, (*PLAIN, *_VALUES, np.ndarray)) and value is not None else None


def _numbers_of(value: Any) -> Any:
    """What a distribution, a transform or a support consists of, down to its tensors and numbers."""
    if isinstance(value, list | tuple):
        return [_numbers_of(part) for part in value]
    if not isinstance(value, _MADE):
        return value
    if isinstance(value, nn.Module):  # a flow with weights, which is looked at as a module
        return type(value).__name__
    kind = type(value).__name__
    if isinstance(value, Transform) and kind == "_InverseTransform":  # each of the two holds the other
        return [kind, _numbers_of(value.inv)]
    return [kind, {n: _numbers_of(v) for n, v in vars(value).items() if _is_said(n, v)}]


def _is_said(name: str, value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (not name.startswith("_") and isinstance(value, _HELD))


def _numbers(code: UserCode) -> dict[str, str]:
    """The numbers that stand in the code itself: `dist.Normal(loc, 0.1)`."""
    found = defaultdict(list)
    for one in code.codes:
        found[f"the numbers in {one.co_qualname}"] += _constants(one.co_consts)
    return {name: fingerprint(sorted(map(repr, numbers))) for name, numbers in found.items() if numbers}


def _constants(constants: tuple) -> list[Any]:
    found = []
    for constant in constants:
        if isinstance(constant, tuple):
            found += _constants(constant)
        elif isinstance(constant, int | float | complex) and not isinstance(constant, bool):
            found.append(constant)
    return found
