"""A pair is anything with a model and a guide; here it is looked at from outside, by running it."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch import nn

from pyrovae.errors import ArgumentError
from pyrovae.isolation import isolated


@runtime_checkable
class HasPair(Protocol):
    """Anything with a `.model` and a `.guide`, Pyro functions of the same arguments.

    Examples:
        >>> import pyrovae as pv
        >>> isinstance(pv.Pair(model=print, guide=print), pv.HasPair)
        True
    """

    @property
    def model(self) -> Callable[..., Any]: ...  # noqa: D102

    @property
    def guide(self) -> Callable[..., Any]: ...  # noqa: D102


class Pair(NamedTuple):
    """A model and a guide, as they are.

    Attributes:
        model: a Pyro function, the joint density p(x, z).
        guide: a Pyro function of the same arguments, the approximate posterior q(z | x).

    Examples:
        >>> import pyrovae as pv
        >>> pair = pv.Pair(model=lambda x: None, guide=lambda x: None)
        >>> pair.model is pair[0]
        True
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]


class Wrapped:
    """A pair around another pair: what it adds, it adds by handlers, from outside.

    Attributes:
        pair: the pair inside.
        replaced: parameters of the pair inside that others stand in for, so that nothing trains them.
        shares_codes: whether a local latent means the same under each draw of the global sites; not so in an ensemble.
    """

    pair: HasPair
    replaced: Sequence[torch.Tensor] = ()
    shares_codes: bool = True


def unwrapped(pair: HasPair) -> HasPair:
    """The user's own pair inside all wrappers."""
    while isinstance(pair, Wrapped):
        pair = pair.pair
    return pair


def shares_codes(pair: HasPair) -> bool:
    """Whether a local latent means the same under each draw of the global sites."""
    while isinstance(pair, Wrapped):
        if not pair.shares_codes:
            return False
        pair = pair.pair
    return True


def replaced_parameters(pair: HasPair) -> list[torch.Tensor]:
    """Parameters inside all wrappers that others stand in for."""
    found: list[torch.Tensor] = []
    while isinstance(pair, Wrapped):
        found += pair.replaced
        pair = pair.pair
    return found


class Traces(NamedTuple):
    """One run of the guide, and of the model replayed against it."""

    model: Trace
    guide: Trace


class Site(NamedTuple):
    """What a sample site is to the pair, and the plates that it stands in."""

    name: str
    role: str  # latent, auxiliary, enumerated, observed, factor or deterministic
    plates: tuple[str, ...]
    local: bool  # inside the data plate


class Structure(NamedTuple):
    """What one run of a pair on one batch shows."""

    sites: dict[str, Site]
    data_plate: str | None
    parameters: dict[str, torch.Tensor]  # canonical name -> unconstrained tensor
    modules: dict[str, nn.Module]  # canonical prefix -> module
    auxiliaries: dict[str, tuple[str, ...]]  # auxiliary site -> the latent sites that depend on it

    def named(self, role: str, *, local: bool | None = None) -> list[str]:
        """Names of the sites with a role, in the order in which they ran."""
        return [s.name for s in self.sites.values() if s.role == role and local in (None, s.local)]

    def buffers(self) -> dict[str, torch.Tensor]:
        """The modules' persistent buffers, those that a state dict would hold, by canonical name."""
        found: dict[str, torch.Tensor] = {}
        for prefix, module in self.modules.items():
            own = dict(module.named_parameters(remove_duplicate=False))  # tied weights under all their names
            for name, tensor in module.state_dict(keep_vars=True).items():
                if name not in own and isinstance(tensor, torch.Tensor):
                    found.setdefault(f"{prefix}.{name}" if prefix else name, tensor)
        return found


# Marks a factor of ours in a site's `infer` dictionary: it enters no figure. Its value is the site it belongs to.
INTERNAL = "_pyrovae_internal"


# --- names ------------------------------------------------------------------------------------------

_counter = itertools.count()
_FRESH = re.compile(r"@[0-9a-f]+")


def fresh_name(prefix: str) -> str:
    """A name for `pyro.module` that no other object of this process has.

    What follows the `@` never reaches a file: see `canonical`.

    Examples:
        >>> name = fresh_name("vae")
        >>> canonical([name + "$$$likelihood.net.0.weight"])
        ['vae.likelihood.net.0.weight']
    """
    return f"{prefix}@{next(_counter):x}{secrets.token_hex(4)}"


def canonical(names: Iterable[str]) -> list[str]:
    """The names as files and users know them, in the same order.

    Fresh parts are dropped and `pyro.module`'s divider becomes a dot; where two objects then share a
    prefix, the second is called `prefix_2`, and so on in the order of appearance.
    """
    known: dict[str, dict[str, int]] = {}
    result = []
    for name in names:
        fresh = _FRESH.search(name)
        if fresh:
            stem = name[: fresh.start()]
            numbers = known.setdefault(stem, {})
            number = numbers.setdefault(fresh.group(), len(numbers) + 1)
            name = stem + (f"_{number}" if number > 1 else "") + name[fresh.end() :]
        result.append(name.replace("$$$", "."))
    return result


# --- running a pair ---------------------------------------------------------------------------------


def run(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> Traces:
    """Run the guide, then the model against its draws; both traces hold `param` sites too."""
    guide = poutine.trace(pair.guide).get_trace(*args, **kwargs)
    model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args, **kwargs)
    return Traces(model, guide)


def samples(trace: Trace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample sites of a trace, without those that choose subsamples and without factors of our own."""
    for name, node in trace.nodes.items():
        if node["type"] == "sample" and not site_is_subsample(node) and INTERNAL not in (node["infer"] or {}):
            yield name, cast(dict[str, Any], node)


_WRAPPERS = ("Independent", "ExpandedDistribution", "MaskedDistribution")


def base_of(fn: Any) -> Any:
    """The distribution over one element behind `.to_event`, `.expand` and `.mask`."""
    while type(fn).__name__ in _WRAPPERS:
        fn = fn.base_dist
    return fn


def bound_modules(pair: HasPair) -> list[nn.Module]:
    """Modules that a pair is, or whose methods or calls its model and guide are."""
    pair = unwrapped(pair)
    owners = [pair, *(getattr(f, "__self__", f) for f in (pair.model, pair.guide))]
    return list({id(owner): owner for owner in owners if isinstance(owner, nn.Module)}.values())


def owner(pair: HasPair) -> object:
    """What a pair's memory hangs on: the object behind a bound method, else the model function itself."""
    model = unwrapped(pair).model
    return getattr(model, "__self__", model)


def inspect(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    data_plate: str | None = None,
    seed: int | None = None,
) -> Structure:
    """Find sites, data plate, parameters and modules by running the pair in eval mode, isolated.

    The parameters returned are live only where they existed before or belong to modules: what the run
    itself created in Pyro's store is gone again.
    """
    with isolated(seed) as called:
        traces = run(pair, args, kwargs)
        plate = data_plate or find_data_plate(pair, args, kwargs, traces)
    return structure_of(traces, roots([*bound_modules(pair), *called]), plate)


def unconstrained(value: Any) -> torch.Tensor:
    """The tensor that is trained behind a parameter's value."""
    # Parameters that are local to their module are handed out as they are.
    return value.unconstrained() if hasattr(value, "unconstrained") else value


def structure_of(traces: Traces, modules: list[nn.Module], data_plate: str | None) -> Structure:
    """Read a structure off a run that was already made."""
    raw = {
        name: unconstrained(node["value"])
        for trace in (traces.guide, traces.model)
        for name, node in trace.nodes.items()
        if node["type"] == "param"
    }
    sites = _sites(traces, data_plate)
    return Structure(
        sites=sites,
        data_plate=data_plate,
        parameters=dict(zip(canonical(raw), raw.values(), strict=True)),
        modules=_named_modules(modules, raw),
        auxiliaries=_auxiliaries(traces, sites),
    )


# --- reading a run ----------------------------------------------------------------------------------


def _role(name: str, node: dict, guide: Trace) -> str:
    if node["infer"].get("_deterministic"):
        return "deterministic"
    if type(node["fn"]).__name__ == "Unit":
        return "factor"
    if node["is_observed"]:
        return "observed"
    if name in guide:
        return "latent"
    return "enumerated" if node["infer"].get("enumerate") else "unguided"


def _sites(traces: Traces, data_plate: str | None) -> dict[str, Site]:
    found = {}
    for name, node in samples(traces.model):
        found[name] = _site(name, _role(name, node, traces.guide), node, data_plate)
    for name, node in samples(traces.guide):
        if name not in found:
            role = "factor" if type(node["fn"]).__name__ == "Unit" else "auxiliary"
            found[name] = _site(name, role, node, data_plate)
    return found


def _site(name: str, role: str, node: dict, data_plate: str | None) -> Site:
    plates = tuple(frame.name for frame in node["cond_indep_stack"])
    return Site(name, role, plates, local=data_plate is not None and data_plate in plates)


def roots(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules that are not part of another one among them, in order."""
    modules = list({id(m): m for m in modules}.values())
    inner = {id(part) for m in modules for part in m.modules() if part is not m}
    return [m for m in modules if id(m) not in inner]


def _named_modules(modules: list[nn.Module], raw: Mapping[str, torch.Tensor]) -> dict[str, nn.Module]:
    """Each module under the prefix that its parameters have, or else under its place in the order."""
    name_of = {id(tensor): name for name, tensor in zip(canonical(raw), raw.values(), strict=True)}
    named: dict[str, nn.Module] = {}
    for number, module in enumerate(modules):
        prefix = f"module_{number}"
        for path, tensor in module.named_parameters():
            full = name_of.get(id(tensor))
            if full is not None and full.endswith(path):
                prefix = full[: len(full) - len(path)].rstrip(".")
                break
        named[prefix if prefix not in named else f"{prefix}_{number}"] = module
    return named


def _auxiliaries(traces: Traces, sites: Mapping[str, Site]) -> dict[str, tuple[str, ...]]:
    """Which latent sites depend on each auxiliary site, found by differentiating one by the other."""
    found = {}
    latents = [s.name for s in sites.values() if s.role == "latent"]
    for name in [s.name for s in sites.values() if s.role == "auxiliary"]:
        nodes = dict(samples(traces.guide))
        served = [other for other in latents if _depends(nodes[other], nodes[name]["value"])]
        found[name] = tuple(served or [n for n in latents if name.startswith(n + "_")])
    return found


def _depends(node: dict, on: torch.Tensor) -> bool:
    if not (isinstance(on, torch.Tensor) and on.requires_grad):
        return False
    value = node["value"]
    target = value if value.requires_grad else node["fn"].log_prob(value)
    if not target.requires_grad:
        return False
    return torch.autograd.grad(target.sum(), on, allow_unused=True, retain_graph=True)[0] is not None


# --- the data plate ---------------------------------------------------------------------------------


def find_data_plate(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], traces: Traces) -> str | None:
    """The one plate whose length follows the batch, found by a second run with another number of rows.

    A trace by shape alone cannot tell 8 rows from 8 columns. None where no plate follows; an error where
    several do.
    """
    rows = batch_rows(args, kwargs)
    if rows is None:
        return None
    before = plates(traces)
    other = with_rows(args, kwargs, rows - 1 if rows > 1 else rows + 1)
    try:
        after = plates(run(pair, *other))
        following = [name for name, frame in before.items() if name in after and after[name] != frame]
    except Exception:
        # The pair has its number of rows written into it: then the plate of that size is meant.
        following = [name for name, sizes in before.items() if rows in sizes]
    if not following:
        # `pyro.plate("data")` says no size; the batch decides.
        following = [name for name, (length, _) in before.items() if length == -1]
    if len(following) > 1:
        holding = {f.name for _, node in samples(traces.model) if node["is_observed"] for f in node["cond_indep_stack"]}
        likely = next((name for name in following if name in holding), following[0])
        raise ArgumentError(
            f"several plates follow the length of the batch: {', '.join(sorted(following))}. "
            "If they hold the same rows, give them one name, in model and guide. "
            f"Otherwise say which one holds the data: data_plate={likely!r}, for example."
        )
    return following[0] if following else None


def plates(traces: Traces) -> dict[str, tuple[int, int]]:
    """Every plate as (length of the subsample, full size)."""
    return {
        frame.name: (int(frame.size), int(frame.full_size or frame.size))
        for trace in (traces.guide, traces.model)
        for _, node in samples(trace)
        for frame in node["cond_indep_stack"]
    }


def tensors_of(args: tuple, kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors of a batch, in order."""
    return [leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, torch.Tensor)]


def batch_rows(args: tuple, kwargs: Mapping[str, Any]) -> int | None:
    """The number of rows of a batch, or None where it holds no tensor with rows."""
    return next((len(leaf) for leaf in tensors_of(args, kwargs) if leaf.ndim), None)


def with_rows(args: tuple, kwargs: Mapping[str, Any], rows: int) -> tuple[tuple, dict[str, Any]]:
    """The batch cut, or repeated from its start, to a number of rows."""

    def resized(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or not leaf.ndim:
            return leaf
        return leaf[torch.arange(rows, device=leaf.device) % len(leaf)]

    return tuple(map(resized, args)), {key: resized(leaf) for key, leaf in kwargs.items()}
