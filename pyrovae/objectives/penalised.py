"""What a loss punishes beside the rate: a term of the draws of a batch, around any pair, from outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.provenance import detach_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.objectives.figures import PARTICLES, data_size, holding_plate, is_data, untempered
from pyrovae.objectives.particles import frame_of
from pyrovae.pairs.masks import mask_around
from pyrovae.pairs.numbers import finite
from pyrovae.pairs.pair import HasPair, Side, Wrapped, wrappers
from pyrovae.pairs.trace import INTERNAL, batch_rows


class Draw(NamedTuple):
    """A latent site as one side ran it."""

    fn: Any
    value: Any
    scale: Any  # without temper, as the mask
    mask: Any
    cond_indep_stack: Any


Draws = Mapping[str, Draw]


class Term(Protocol):
    """What is punished, as a frozen dataclass of its settings."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    def check_rows(self, rows: int | None) -> None:
        """Refuse settings that are of another number of rows than the data have."""
        ...

    def value(self, names: Sequence[str], posterior: Draws, prior: Draws, plate: str, *, named: bool) -> Tensor:
        """The penalty of a batch, per datum.

        Args:
            names: the sites in question.
            posterior: all that the guide drew.
            prior: the same sites as the model scores them.
            plate: the data plate.
            named: whether the user named the sites.
        """
        ...


class Penalised(Wrapped):
    """A pair whose loss holds `weight * term` more per datum; figures never see it, and temper leaves it alone.

    Around another one of its kind both are punished: discrepancies of two bandwidths, or at other sites.
    """

    of_the_loss = True

    def __init__(self, pair: HasPair, weight: float, term: Any, sites: Sequence[str] | None, data_plate: str | None):
        self.name = term.name
        if isinstance(sites, str):
            raise ArgumentError(f"{self.name}: sites is a list of names; write sites=[{sites!r}].")
        self.pair = pair
        self.weight = finite(self.name, "weight", weight)
        if self.weight < 0:
            raise ArgumentError(f"{self.name}: weight is {self.weight}; what is punished has a weight of 0 at least.")
        self.term: Term = term
        self.settings = dataclasses.asdict(term)  # to be compared when a training goes on
        self.sites = None if sites is None else list(sites)
        self.data_plate = data_plate
        before = sum(isinstance(inner, Penalised) and inner.name == self.name for inner in wrappers(pair))
        self._factor = f"_{self.name}_{before + 1}" if before else f"_{self.name}"
        self._drawn: Draws | None = None  # by the guide, for the model to come

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Note the guide's draws, and add one factor to the model that is replayed against them."""
        drawn, self._drawn = self._drawn, None
        with _SitesSeen() as noted:
            yield
        if side == "guide":
            self._drawn = noted.draws
        elif drawn is not None and _replays(noted.draws, drawn):
            rows = batch_rows(args, kwargs)
            plate = holding_plate(noted.data, rows, self.data_plate)
            self._add_factor(drawn, noted.draws, plate, data_size(noted.data, rows, self.data_plate))

    def _add_factor(self, drawn: Draws, prior: Draws, plate: str | None, size: int) -> None:
        names = self._chosen(drawn, prior, plate)
        penalty = self.term.value(names, drawn, prior, str(plate), named=self.sites is not None)
        value = -self.weight * size * penalty
        unit = dist.Unit(value, has_rsample=False)
        mark: Any = {INTERNAL: None}  # of no site, so that temper leaves it alone
        pyro.sample(self._factor, unit, obs=unit.sample(), infer=mark)

    def _chosen(self, drawn: Draws, prior: Draws, plate: str | None) -> list[str]:
        local = [name for name, draw in drawn.items() if name in prior and plate and frame_of(draw._asdict(), plate)]
        for name in self.sites or []:
            if name not in local:
                raise ArgumentError(
                    f"{self.name} names {name!r}, which is no latent site of each row, drawn by the guide; those are "
                    f"{', '.join(map(repr, local)) or 'none'}."
                )
        names = [n for n in local if not _discrete(drawn[n].fn)] if self.sites is None else self.sites
        if not names:
            raise ArgumentError(
                f"{self.name} needs a continuous latent site of each row, inside the data plate; the guide draws "
                f"{', '.join(map(repr, drawn)) or 'nothing'}, and the data plate is {plate!r}."
            )
        for name in names:
            self._check(name, drawn[name])
        return names

    def _check(self, name: str, draw: Draw) -> None:
        dims = {frame.dim for frame in draw.cond_indep_stack}
        shape = draw.fn.batch_shape
        reasons = {
            "has no pathwise gradient (has_rsample)": not draw.fn.has_rsample,
            "is drawn by vectorised particles; leave vectorize_particles out": frame_of(draw._asdict(), PARTICLES),
            "is masked, row by row": mask_around(draw.fn, draw.mask, draw.value) is not None,
            "is weighted row by row": isinstance(draw.scale, Tensor) and draw.scale.numel() > 1,
            "depends on a site that is enumerated": any(
                shape[dim] > 1 for dim in range(-len(shape), 0) if dim not in dims
            ),
        }
        for reason, applies in reasons.items():
            if applies:
                raise ArgumentError(f"{self.name}: the site {name!r} {reason}. Name other sites: sites=[...].")


class _SitesSeen(Messenger):
    """Note latent sites and the plates around data as they are in the end."""

    def __init__(self):
        super().__init__()
        self.draws: dict[str, Draw] = {}
        self.data: list[tuple] = []

    def _pyro_post_sample(self, msg) -> None:
        if is_data(msg):
            self.data.append(msg["cond_indep_stack"])
        elif not msg["is_observed"] and not site_is_subsample(msg):
            self.draws[msg["name"]] = Draw(msg["fn"], msg["value"], *untempered(msg), msg["cond_indep_stack"])


def depends_on(draw: Draw, others: Draws, plate: str) -> str | None:
    """The first draw of the rows, made before, that a draw's distribution is a function of.

    A gradient tells; of draws without one it is not known, and they count as well.
    """
    log_prob = draw.fn.log_prob(draw.value.detach())
    for name, other in others.items():
        if other.value is draw.value:
            break
        if frame_of(other._asdict(), plate) and (not other.fn.has_rsample or _gradient(log_prob, other.value)):
            return name
    return None


def _gradient(total: Tensor, value: Tensor) -> bool:
    if not (torch.is_grad_enabled() and total.requires_grad and value.requires_grad):
        return False
    return torch.autograd.grad(total.sum(), value, retain_graph=True, allow_unused=True)[0] is not None


def by_row(value: Tensor, draw: Draw, plate: str, events: int) -> Tensor:
    """Rows first, one dim behind them at least; a value has batch dims and so many event dims."""
    shape = draw.fn.batch_shape + draw.fn.event_shape[:events]
    value = value.expand(shape) if value.dim() <= len(shape) else value
    moved = value.movedim(frame_of(draw._asdict(), plate).dim - events, 0)
    return moved if moved.dim() > 1 else moved.unsqueeze(1)


def beside(values: Mapping[str, Tensor], draws: Draws, plate: str) -> Tensor:
    """Values of several sites side by side, (rows, numbers)."""
    parts = [by_row(v, draws[name], plate, len(draws[name].fn.event_shape)).flatten(1) for name, v in values.items()]
    return torch.cat(parts, 1)


def _discrete(fn: Any) -> bool:
    return bool(getattr(fn, "has_enumerate_support", False))


def _replays(scored: Draws, drawn: Draws) -> bool:
    """Whether the model was replayed against these draws: not so where it draws for itself after the guide ran."""
    both = [name for name in drawn if name in scored]
    return not both or any(same_draw(drawn[name].value, scored[name].value) for name in both)


def same_draw(one: Any, other: Any) -> bool:
    """Whether the model was replayed against this very draw."""
    one, other = detach_provenance(one), detach_provenance(other)
    return one is other or one.data_ptr() == other.data_ptr()
