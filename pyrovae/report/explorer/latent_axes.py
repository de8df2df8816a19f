"""The latent sites of a row as one line of free numbers, and what the guide says of them for each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.distributions import biject_to

from pyrovae.errors import PairError
from pyrovae.pairs.known_support import is_real, known_support
from pyrovae.pairs.structure import Structure
from pyrovae.prediction.encode import Encoding, encodings
from pyrovae.prediction.moments import RunningMoments
from pyrovae.prediction.readings import rows_first
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import merged

_DRAWS = 100  # where a site is not of all real numbers, moments of its free numbers are those of draws


class MovedSite(NamedTuple):
    """A continuous latent site of each row.

    Attributes:
        name: of the site.
        axis: of the rows in its value, counted from the right.
        transform: from free numbers to values; None where these are all real numbers.
        count: how many free numbers one row has.
    """

    name: str
    axis: int | None
    transform: Any
    count: int

    def value(self, free: torch.Tensor, fn: Any) -> torch.Tensor:
        """The value of one row's site from its free numbers `(count,)`."""
        shape = fn.batch_shape + fn.event_shape
        wanted = shape if self.transform is None else self.transform.inverse_shape(shape)
        placed = free.reshape(wanted)  # one row: its axis may stand anywhere
        return placed if self.transform is None else self.transform(placed)


class LatentAxes(NamedTuple):
    """All free numbers of a row, side by side, and the codes of the rows: means and scales `(rows, dims)`."""

    sites: list[MovedSite]
    means: torch.Tensor
    scales: torch.Tensor
    dtype: torch.dtype  # that the pair computes in

    def parts(self, free: torch.Tensor) -> dict[str, torch.Tensor]:
        """The numbers of each site."""
        sizes = [site.count for site in self.sites]
        return dict(zip((site.name for site in self.sites), free.split(sizes), strict=True))

    def names(self) -> list[str]:
        """A name for each number: `z[3]`, or the site's alone where it has one."""
        return [
            site.name if site.count == 1 else f"{site.name}[{number}]"
            for site in self.sites
            for number in range(site.count)
        ]

    def by_activity(self) -> list[int]:
        """The dims, those first that differ most between rows, as a share of all their variance."""
        return torch.argsort(self.shares(), descending=True, stable=True).tolist()

    def shares(self) -> torch.Tensor:
        """Of each dim, how much of the variance of codes lies between rows: 0 where the data move nothing."""
        between = self.means.var(0, correction=0)
        return between / (between + self.scales.square().mean(0)).clamp(min=1e-30)


def continuous_sites(structure: Structure) -> list[str]:
    """The latent sites of each row that the guide draws, without what a mask has left out of the data."""
    left_out = {f"{whole}_unobserved" for whole in merged(structure).values()}
    return [name for name in structure.named("latent", local=True) if name not in left_out]


def latent_axes(sampler: Sampler) -> LatentAxes:
    """The axes of a pair and the codes of its data.

    Raises:
        PairError: it has no continuous latent site of each row, or one of a support that nothing leads to.
    """
    run = sampler.use.posterior_run
    names = [name for name in continuous_sites(sampler.structure) if not is_discrete(run.model.nodes[name]["fn"])]
    if not names:
        raise PairError(
            "the pair has no continuous latent site of each row, so that there is no latent space to move in: "
            "write_report and generate show what it makes."
        )
    found = encodings(sampler, classes=False)
    codes = {name: _codes(sampler, name, run.model.nodes[name]["fn"], found.get(name)) for name in names}
    for name, (_, code) in codes.items():
        if not all(bool(part.isfinite().all()) for part in code):
            raise PairError(f"the codes at {name!r} are not finite for every row: see check_pair, and train it again.")
    sites = [
        MovedSite(name, sampler.layout.place(("model", name)).axis, transform, code.mean.shape[1])
        for name, (transform, code) in codes.items()
    ]
    means, scales = (torch.cat([code[number].double() for _, code in codes.values()], 1) for number in range(2))
    return LatentAxes(sites, means, scales, torch.as_tensor(run.model.nodes[names[0]]["value"]).dtype)


def is_discrete(fn: Any) -> bool:
    """Whether a site's values can be counted."""
    return bool(getattr(known_support(fn), "is_discrete", False))


def _codes(sampler: Sampler, name: str, fn: Any, known: Encoding | None) -> tuple[Any, Encoding]:
    support = known_support(fn)
    if is_real(support):
        if known is None:
            raise PairError(f"the codes at {name!r} are not finite for every row: see check_pair, and train it again.")
        return None, Encoding(*(part.reshape(len(part), -1) for part in known))
    try:
        transform: Any = biject_to(support)
    except NotImplementedError:
        raise PairError(f"no free numbers lead to the support of {name!r}, so that it cannot be moved in.") from None
    if transform.domain.event_dim != transform.codomain.event_dim:
        raise PairError(f"the values of {name!r} are matrices that depend on each other: no slider can move them.")
    return transform, _moments(sampler, name, transform)


def _moments(sampler: Sampler, name: str, transform: Any) -> Encoding:
    """Mean and scale of the free numbers, of draws."""
    axis = sampler.layout.place(("guide", name)).axis
    running: dict[int, RunningMoments] = {}
    for tile in sampler.tiles(_DRAWS, "guide"):
        free = transform.inv(tile.value(name, "guide"))
        running.setdefault(tile.rows.start, RunningMoments()).add(free)
    parts = [[rows_first(one, axis) for one in (state.mean, state.scale)] for _, state in sorted(running.items())]
    return Encoding(*(torch.cat([part.reshape(len(part), -1) for part in side]) for side in zip(*parts, strict=True)))
