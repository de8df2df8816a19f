"""What one run of a pair shows: its sites and their roles, parameters, modules, the data plate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from pyro.poutine.trace_struct import Trace
from torch import nn

from pyrovae.pairs.by_row import ByRow
from pyrovae.pairs.claims import claiming
from pyrovae.pairs.data_plate import check_rows_first, find_data_plate
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair, bound_modules, replaced_parameters
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.trace import Traces, plate_sizes, run, samples, unconstrained
from pyrovae.pairs.untrained import noting_use

_DRAWN = ("latent", "auxiliary", "enumerated", "unguided")


class Site(NamedTuple):
    """What a sample site is to the pair, and the plates that it stands in."""

    name: str
    role: str  # latent, auxiliary, enumerated, observed, factor or deterministic
    plates: tuple[str, ...]
    local: bool  # inside the data plate
    summed: bool = False  # whether model or guide enumerates it


class Structure(NamedTuple):
    """What one run of a pair on one batch shows."""

    sites: dict[str, Site]
    data_plate: str | None
    parameters: dict[str, torch.Tensor]  # canonical name -> unconstrained tensor
    modules: dict[str, nn.Module]  # canonical prefix -> module
    auxiliaries: dict[str, tuple[str, ...]]  # auxiliary site -> the latent sites that depend on it
    untrained: Mapping[str, torch.Tensor] = MappingProxyType({})  # parameters that no statement of a run shows
    sets_up: bool = False  # whether the pair notes something at its first call
    guide_sizes: frozenset[int] = frozenset()  # full sizes of the guide's plates
    depth: int = 0  # how many dims the plates take
    other_rows: bool = False  # whether an observed site holds another number of rows than the data plate

    def drawn(self, *, local: bool) -> list[str]:
        """The sites that are drawn, or summed out, for single rows or for all together."""
        return [site.name for site in self.sites.values() if site.role in _DRAWN and site.local == local]

    def named(self, role: str, *, local: bool | None = None) -> list[str]:
        """Names of the sites with a role, in the order in which they ran."""
        return [s.name for s in self.sites.values() if s.role == role and local in (None, s.local)]

    def local_latents(self) -> list[str]:
        """The latent sites of each row that the guide draws, and does not sum out."""
        return [name for name in self.named("latent", local=True) if not self.sites[name].summed]

    def buffers(self) -> dict[str, torch.Tensor]:
        """The modules' persistent buffers, those that a state dict would hold, by canonical name."""
        found: dict[str, torch.Tensor] = {}
        for prefix, module in self.modules.items():
            own = dict(module.named_parameters(remove_duplicate=False))  # tied weights under all their names
            for name, tensor in module.state_dict(keep_vars=True).items():
                if name not in own and isinstance(tensor, torch.Tensor):
                    found.setdefault(f"{prefix}.{name}" if prefix else name, tensor)
        return found


def inspect(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    data_plate: str | None = None,
    seed: int | None = None,
    trains: bool = False,
) -> Structure:
    """Find sites, data plate, parameters and modules by running the pair in eval mode, isolated.

    The parameters returned are live only where they existed before or belong to modules: what the run
    itself created in Pyro's store is gone again.

    Raises:
        PairError: its parameters are another pair's.
    """
    return inspected(pair, args, kwargs, data_plate=data_plate, seed=seed, trains=trains)[0]


def inspected(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    data_plate: str | None = None,
    seed: int | None = None,
    trains: bool = False,
) -> tuple[Structure, Traces]:
    """The same, and the run that showed it."""
    with isolated(seed) as called:
        with claiming(pair, called, trains=trains) as noted, noting_use() as used:
            traces = run(noted, args, kwargs)
        plate = data_plate or find_data_plate(pair, args, kwargs, traces)
        if data_plate:
            check_rows_first(args, kwargs, traces, data_plate)
        # Here, while a guide still holds what it has set up: parts of it, and parameters that give it its name.
        modules = roots([*bound_modules(pair), *called, *_used(called.reached, traces)])
        structure = structure_of(traces, modules, plate)
    known, replaced = structure.parameters.values(), replaced_parameters(pair)
    untrained = used.untrained(known, structure.modules, replaced)
    return structure._replace(untrained=untrained, sets_up=called.set_up), traces


def double_parts(structure: Structure) -> list[nn.Module]:
    """Modules that take numbers in double precision as they are: their class says `takes_double = True`."""
    parts = (part for module in structure.modules.values() for part in module.modules())
    return [part for part in parts if getattr(part, "takes_double", False) is True]


def structure_of(traces: Traces, modules: list[nn.Module], data_plate: str | None) -> Structure:
    """Read a structure off a run that was already made."""
    raw = _raw_parameters(traces)
    sites = _sites(traces, data_plate)
    return Structure(
        sites=sites,
        data_plate=data_plate,
        parameters=parameters_of(traces),
        modules=_named_modules(modules, raw),
        auxiliaries=_auxiliaries(traces, sites),
        guide_sizes=frozenset(plate_sizes(traces.guide).values()),
        depth=max((-frame.dim for frame in _frames(traces) if frame.dim is not None), default=0),
        other_rows=data_plate is not None and any(ByRow(traces, data_plate).other_lengths()),
    )


def _frames(traces: Traces) -> Iterator[Any]:
    return (frame for trace in traces for _, node in samples(trace) for frame in node["cond_indep_stack"])


def parameters_of(traces: Traces) -> dict[str, torch.Tensor]:
    """The tensors trained behind the `param` statements of a run, by their canonical names."""
    raw = _raw_parameters(traces)
    return dict(zip(canonical(raw), raw.values(), strict=True))


def _raw_parameters(traces: Traces) -> dict[str, torch.Tensor]:
    return {
        name: unconstrained(node["value"])
        for trace in (traces.guide, traces.model)
        for name, node in trace.nodes.items()
        if node["type"] == "param"
    }


# --- reading a run ----------------------------------------------------------------------------------
def _role(name: str, node: dict, guide: Trace) -> str:
    if is_deterministic(node):
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
        site = _site(name, _role(name, node, traces.guide), node, data_plate)
        drawn: Any = traces.guide.nodes[name] if name in traces.guide else node
        found[name] = site._replace(summed=bool(drawn["infer"].get("enumerate")))
    for name, node in samples(traces.guide):
        if name not in found:
            role = "factor" if type(node["fn"]).__name__ == "Unit" else "auxiliary"
            found[name] = _site(name, role, node, data_plate)
    return found


def _site(name: str, role: str, node: dict, data_plate: str | None) -> Site:
    plates = tuple(frame.name for frame in node["cond_indep_stack"])
    local = data_plate is not None and data_plate in plates
    return Site(name, role, plates, local, summed=bool(node["infer"].get("enumerate")))


def _used(reached: Iterable[nn.Module], traces: Traces) -> Iterator[nn.Module]:
    """Modules that a run has used by other ways than a call: a parameter of theirs was there."""
    there = {id(tensor) for tensor in _raw_parameters(traces).values()}
    return (m for m in reached if any(id(own) in there for own in m.parameters(recurse=False)))


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
