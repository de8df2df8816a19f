"""Which local sites share a head, and what each head sees."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import ArgumentError, PairError
from pyrovae.models.amortized.heads import real_shape
from pyrovae.models.amortized.local_sites import LatentSite, Look, is_local
from pyrovae.pairs.masks import same_elements

_NUMBERED = re.compile(r"(.*?)_?(\d+)")


class SiteGroup(NamedTuple):
    """Sites of one head.

    Attributes:
        base: their name without a number, or that of the only one.
        first: the first one's name.
        place: of the head among all.
        numbered: whether there may be more of them.
        cells: values of a site that a row has.
        size: real numbers behind one value.
        numbers: of a value.
        inputs: what the head sees of other sites: (base, how many numbers of a row).
    """

    base: str
    first: str
    place: int
    numbered: bool
    cells: int
    size: int
    numbers: int
    inputs: tuple[tuple[str, int], ...] = ()


class SiteGroups(NamedTuple):
    """The local sites of a model by the heads that they share.

    Attributes:
        plate: the plate of the rows.
        groups: by base.
        alone: names that look numbered, of sites that are unlike each other.
        shared: sites that all rows share.
        given: what the model observed at the first look.
    """

    plate: str
    groups: dict[str, SiteGroup]
    alone: frozenset[str]
    shared: tuple[str, ...]
    given: frozenset[str]

    @classmethod
    def of_look(cls, look: Look, plate: str) -> SiteGroups:
        """From the sites that a look has found.

        Raises:
            ArgumentError: no site belongs to a row.
            PairError: a site takes separate values, and is not enumerated.
        """
        free = {name: site for name, site in look.latent.items() if not site.enumerated}
        _refuse_discrete(free)
        local = [site for site in free.values() if is_local(site, plate)]
        if not local:
            raise ArgumentError(
                "AmortizedGuide: no latent site belongs to a row; pyro.infer.autoguide.AutoNormal does."
            )
        alone = _unlike(local, plate)
        groups: dict[str, SiteGroup] = {}
        for site in local:
            base = _base(site.name, alone)
            if base not in groups:
                groups[base] = _group(site, base, len(groups), plate)
        for base, group in groups.items():
            own = [site.name for site in local if _base(site.name, alone) == base]
            parents = {_base(name, alone) for one in own for name in look.parents.get(one, ())} & set(groups)
            parents = parents | {base} if group.numbered else parents - {base}
            inputs = tuple((one, groups[one].cells * groups[one].numbers) for one in groups if one in parents)
            groups[base] = group._replace(inputs=inputs)
        shared = tuple(name for name, site in free.items() if not is_local(site, plate))
        return cls(plate, groups, alone, shared, frozenset(look.observed))

    def of(self, site: LatentSite) -> SiteGroup:
        """The group of a site."""
        return self.groups[_base(site.name, self.alone)]

    def local(self, look: Look) -> list[LatentSite]:
        """The local sites of a batch.

        Raises:
            PairError: there is one that the first batch did not have.
        """
        found = []
        for name, site in look.latent.items():
            if site.enumerated or name in self.shared or name in self.given:
                continue
            group = self.groups.get(_base(name, self.alone))
            if group is None or not is_local(site, self.plate):
                raise PairError(
                    f"AmortizedGuide: the model has the latent site {name!r}, which it had not at the first batch; "
                    "make a new guide, and call it first with a batch that has all sites."
                )
            _check_size(site, group, self.plate)
            found.append(site)
        return found

    def check(self, look: Look, drawn: Look) -> None:
        """Refuse masks and supports that another look, with other values, finds to be others.

        Raises:
            PairError: one moves with a latent value.
        """
        for name, site in look.latent.items():
            other = drawn.latent.get(name)
            if other is None or site.enumerated or name in self.shared:
                continue
            if not same_elements(site.mask, other.mask) or not _same_bounds(site.support, other.support):
                what = "support" if same_elements(site.mask, other.mask) else "mask"
                raise PairError(
                    f"AmortizedGuide: the {what} of {name!r} moves with the value of another latent site, which this "
                    "guide cannot follow; write the guide by hand, or draw the site from a distribution of fixed "
                    "support and transform it in the model."
                )


def position(name: str, frequencies: Tensor, like: Tensor) -> Tensor:
    """A site's number as waves, (rows, 2 * waves); no tensor is made of numbers, for which a device would wait."""
    angles = _matched(name)[1] * frequencies.to(like)
    return torch.cat([angles.sin(), angles.cos()]).expand((*like.shape[:-1], 2 * len(frequencies)))


def _matched(name: str) -> tuple[str, int]:
    """A name that ends in a number, in two parts."""
    found = _NUMBERED.fullmatch(name)
    assert found is not None
    return found[1], int(found[2])


def _base(name: str, alone: frozenset[str]) -> str:
    return name if name in alone or not _NUMBERED.fullmatch(name) else _matched(name)[0]


def _group(site: LatentSite, base: str, place: int, plate: str) -> SiteGroup:
    size = math.prod(real_shape(site.support, site.batch_shape, site.event_shape))
    return SiteGroup(base, site.name, place, base != site.name, _cells(site, plate), size, math.prod(site.event_shape))


def _cells(site: LatentSite, plate: str) -> int:
    dim = next(frame.dim for frame in site.frames if frame.name == plate)
    return math.prod(size for place, size in enumerate(site.batch_shape) if place - len(site.batch_shape) != dim)


def _unlike(local: list[LatentSite], plate: str) -> frozenset[str]:
    """Names that look numbered, of sites whose shapes or supports differ, or beside one of their base alone."""
    kinds: dict[str, set[Any]] = {}
    names: dict[str, list[str]] = {}
    for site in local:
        if _NUMBERED.fullmatch(site.name):
            base = _matched(site.name)[0]
            kinds.setdefault(base, set()).add((site.event_shape, _cells(site, plate), str(site.support)))
            names.setdefault(base, []).append(site.name)
    taken = {site.name for site in local}
    return frozenset(one for base, held in names.items() if len(kinds[base]) > 1 or base in taken for one in held)


def _check_size(site: LatentSite, group: SiteGroup, plate: str) -> None:
    cells, numbers = _cells(site, plate), math.prod(site.event_shape)
    if (cells, numbers) != (group.cells, group.numbers):
        raise PairError(
            f"AmortizedGuide: a row of {site.name!r} has {cells} values of {numbers} numbers, and had {group.cells} of "
            f"{group.numbers} at the first batch; draw what differs in number from batch to batch as sites of their "
            f"own ('{group.base}_1', '{group.base}_2', …), which share a head."
        )


def _refuse_discrete(sites: dict[str, LatentSite]) -> None:
    for name, site in sites.items():
        if site.discrete:
            raise PairError(
                f"AmortizedGuide: the site {name!r} takes separate values, which no family of this guide has. Let the "
                'model sum it out: infer={"enumerate": "parallel"} and pyro.infer.TraceEnum_ELBO.'
            )


def _same_bounds(one: Any, other: Any) -> bool:
    """Whether two supports are the same, bounds included."""
    if type(one) is not type(other):
        return False
    for name, value in vars(one).items():
        beside = getattr(other, name, None)
        if isinstance(value, Tensor) or isinstance(beside, Tensor):
            if not torch.equal(torch.as_tensor(value), torch.as_tensor(beside)):
                return False
        elif hasattr(value, "is_discrete") and not _same_bounds(value, beside):
            return False
    return True
