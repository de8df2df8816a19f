"""Sites of a guide that stand at a point, and so have no density there."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.poutine.trace_struct import Trace

from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.points import is_delta
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.programs import WholePlate, only_global, run_once
from pyrovae.sampling.use import Use


class PointSites(NamedTuple):
    """The continuous sites of a guide that are a Delta behind which no random auxiliary site stands, by place."""

    common: list[str]
    local: list[str]


def point_sites(use: Use, one: Traces) -> PointSites:
    """Find them by more runs of the guide: what has a density moves, by an auxiliary site that has the density.

    A discrete site at a point has the mass 1 there, and is none of them.

    Args:
        use: the pair and its data.
        one: `use.posterior_run`.
    """
    pair, structure, batch = (
        WholePlate(use.pair, use.structure.data_plate, follows=False),
        use.structure,
        use.first(None),
    )
    found = PointSites([], [])
    with use.quietly(1):  # other random numbers than those of the first run
        pair.turn_to(batch)
        deltas = [name for name, node in samples(one.guide) if is_delta(node["fn"]) and _is_continuous(name, one)]
        joint = _parts_of_one_vector(one.guide, structure)
        for local, points in zip((False, True), found, strict=True):
            here = [name for name in deltas if structure.sites[name].local == local and name not in joint]
            if here:
                given = only_global(one.guide, structure) if local else None
                other = run_once(pair, batch, structure, "guide", given).guide
                moves = _has_random_auxiliary(one.guide, structure, local=local)
                points += [name for name in here if not moves or _centre(name, one.guide).equal(_centre(name, other))]
    return found


def _parts_of_one_vector(guide: Trace, structure: Any) -> set[str]:
    """Sites of single rows that come of an auxiliary site of all rows, as in AutoDiagonalNormal."""
    nodes = dict(samples(guide))
    vectors = (name for name in structure.auxiliaries if not structure.sites[name].local)
    return {one for name in vectors if not is_delta(nodes[name]["fn"]) for one in structure.auxiliaries[name]}


def _has_random_auxiliary(guide: Trace, structure: Any, *, local: bool) -> bool:
    sites = (structure.sites[name] for name, node in samples(guide) if not is_delta(node["fn"]))
    return any(site.role == "auxiliary" and site.local == local for site in sites)


def _centre(name: str, trace: Trace) -> torch.Tensor:
    node: Any = trace.nodes[name]
    return node["fn"].sample()


def _is_continuous(name: str, run: Traces) -> bool:
    node: Any = run.model.nodes.get(name, run.guide.nodes[name])
    discrete = getattr(known_support(node["fn"]), "is_discrete", False)
    return node["value"].is_floating_point() and not discrete
