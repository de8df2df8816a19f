"""Whose the parameters in Pyro's store are: pairs that share names would train one another's, silently."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pyro.infer.autoguide import AutoGuide
from pyro.ops.provenance import detach_provenance
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from pyrovae.errors import PairError
from pyrovae.pairs.looks.inside import is_inside
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair, Side, Wrapped, bound_modules, unwrapped
from pyrovae.pairs.trace import Traces, unconstrained

Statements = Mapping[str, Mapping[str, Mapping[str, Any]]]  # side -> name -> what its `param` statement said

_Weak = Callable[[], Any]


class Claim(NamedTuple):
    """Who made a parameter; by weak references, so that a claim ends with its owner."""

    model: _Weak
    guide: _Weak
    sides: tuple[str, ...]  # that have a statement for it
    holder: _Weak | None  # the module that it is an attribute of
    trained: bool

    def makers(self) -> list[Any]:
        """The module, or else the functions that have a statement for it, as far as they still exist."""
        held = [self.holder] if self.holder else [getattr(self, side) for side in self.sides]
        return [one for weak in held if (one := weak()) is not None]


# By the tensor behind a name: it is another one once the store was cleared.
_claims: Any = WeakTensorKeyDictionary()


@contextmanager
def claiming(
    pair: HasPair, modules: Iterable[nn.Module], *, trains: bool = False, networks: bool = True
) -> Iterator[HasPair]:
    """Claim the names of the parameters that a pair asks for inside; where it fails, others' names may be the reason.

    Args:
        pair: the pair.
        modules: those that are called, which may grow inside.
        trains: whether the parameters are to be trained.
        networks: whether modules are looked at, too, whose names in the store are another module's.

    Returns:
        The pair, to be run in its place.

    Raises:
        PairError: another pair has claimed one of them.
    """
    noted = _Noted(pair)
    try:
        yield noted
    finally:
        claim(pair, noted.statements, modules, trains=trains, networks=networks)


class _Noted(Wrapped):
    """A pair whose `param` statements are noted."""

    def __init__(self, pair: HasPair):
        self.pair = pair
        self.statements: dict[str, dict[str, Mapping[str, Any]]] = {"guide": {}, "model": {}}

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Messenger:
        """Note what the side asks for."""
        return _Noting(self.statements[side])


class _Noting(Messenger):
    def __init__(self, noted: dict[str, Mapping[str, Any]]):
        super().__init__()
        self.noted = noted

    def _pyro_post_param(self, msg) -> None:
        self.noted.setdefault(msg["name"], {"args": msg["args"], "value": msg["value"]})


def statements_of(traces: Traces) -> Statements:
    """The `param` statements of a run."""
    guide, model = ({name: trace.nodes[name] for name in trace.param_nodes} for trace in (traces.guide, traces.model))
    return {"guide": guide, "model": model}


def claim(
    pair: HasPair,
    statements: Statements,
    modules: Iterable[nn.Module],
    *,
    trains: bool = False,
    networks: bool = True,
) -> None:
    """Claim what a pair's `param` statements named; see `claiming`."""
    taken: dict[str, Claim | None] = {}
    programs = _programs(pair)
    holders = _holders([*bound_modules(pair), *modules])
    for name in dict.fromkeys(name for side in statements.values() for name in side):
        sides = tuple(side for side in statements if name in statements[side])
        said = statements[sides[0]][name]
        tensor = detach_provenance(unconstrained(said["value"]))
        given, known = said["args"][1] if len(said["args"]) > 1 else None, _claims.get(tensor)
        mine = _Mine(programs, sides, holders.get(id(tensor), []), trains)
        if isinstance(given, nn.Parameter):
            if networks and given is not tensor:
                taken[name] = known
        elif known is not None and mine.clashes_with(known):
            taken[name] = known
            continue
        if known is None or trains or not known.makers():
            _claims[tensor] = mine.claim()
    if taken:
        raise PairError(_words(taken, programs))


class _Mine(NamedTuple):
    """How the pair that is looked at comes to a parameter."""

    programs: Mapping[str, Any]
    sides: tuple[str, ...]
    holders: list[nn.Module]
    trains: bool

    def clashes_with(self, known: Claim) -> bool:
        """Whether it is another's; what nothing but a cycle of references keeps alive is gone."""
        if not self._clashes_with(known):
            return False
        gc.collect()
        return self._clashes_with(known)

    def _clashes_with(self, known: Claim) -> bool:
        makers = known.makers()
        if not makers:
            return False
        if known.holder is not None:
            return not any(makers[0] is one for one in self.holders)
        if not any(is_inside(self.programs[side], maker) for side in self.sides for maker in makers):
            return True
        # A function that two pairs share: to ask either is sound, to train the one would change the other.
        model, guide = known.model(), known.guide()
        if not (self.trains and known.trained) or model is None or guide is None:
            return False
        return not (is_inside(self.programs["model"], model) and is_inside(self.programs["guide"], guide))

    def claim(self) -> Claim:
        holder = _weak(self.holders[0]) if self.holders else None
        return Claim(_weak(self.programs["model"]), _weak(self.programs["guide"]), self.sides, holder, self.trains)


def _programs(pair: HasPair) -> dict[str, Any]:
    """The model and the guide, of methods the objects that they are of."""
    inner = unwrapped(pair)
    return {side: getattr(f, "__self__", f) for side, f in (("model", inner.model), ("guide", inner.guide))}


def _weak(one: Any) -> _Weak:
    try:
        return weakref.ref(one)
    except TypeError:  # what cannot be referred to weakly claims nothing
        return lambda: None


def _holders(modules: Iterable[nn.Module]) -> dict[int, list[nn.Module]]:
    """The modules that have a tensor as an attribute of their own."""
    found: dict[int, list[nn.Module]] = {}
    for part in {id(part): part for module in modules for part in module.modules()}.values():
        for tensor in part._parameters.values():
            found.setdefault(id(tensor), []).append(part)
    return found


# --- words ----------------------------------------------------------------------------------------------
def _words(taken: Mapping[str, Claim | None], programs: Mapping[str, Any]) -> str:
    known = next((one for one in taken.values() if one is not None), None)
    names = canonical(taken)
    listed = ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    mine = _described(programs)
    theirs = (
        "another module, made before" if known is None else _described({"model": known.model(), "guide": known.guide()})
    )
    if theirs == mine:
        theirs += ", made there before"
    return (
        f"Pyro's store has the parameters {listed} of {theirs}. Those of {mine} have the same names, so that one pair "
        "would overwrite or read the other's. Give a pair parameters of its own, before it is trained: "
        "pair = pv.own_store(pair); or choose other names; or forget the others: pyro.clear_param_store()."
    )


def _described(programs: Mapping[str, Any]) -> str:
    model, guide = _name(programs["model"]), _name(programs["guide"])
    if isinstance(programs["guide"], AutoGuide):
        return f"the pair of {model} and its {type(programs['guide']).__name__}"
    return f"the pair {model}" if model == guide else f"the pair of {model} and {guide}"


def _name(program: Any) -> str:
    code = getattr(program, "__code__", None)
    if code is None:
        return "a function that is gone" if program is None else type(program).__name__
    return f"{program.__qualname__} ({Path(code.co_filename).name}, line {code.co_firstlineno})"
