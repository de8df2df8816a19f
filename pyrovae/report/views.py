"""What a report shows of a pair: reconstructions, samples, encodings in two dimensions, a traversal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine

import pyrovae as pv
from pyrovae.data.batch_sources import Batch
from pyrovae.data.placement import placed
from pyrovae.pairs.blank import has_blank
from pyrovae.pairs.isolation import isolated
from pyrovae.plots.latent_plane import in_plane
from pyrovae.prediction.encode import encodings
from pyrovae.sampling.sampler import Sampler
from pyrovae.tables.schema import Schema

# As many latent dimensions as fit below each other.
_DIMS = 6

_STEPS = 9

# Standard deviations on either side: 98.8 % of a normal.
_REACH = 2.5

# Rows looked at many times: as many as keep the usual models to seconds. Large images take longer each.
_ROWS, _FEWEST_ROWS, _ELEMENTS = 500, 50, 400_000


def chosen_rows(rows: torch.Tensor, count: int | None = None) -> torch.Tensor:
    """The places of rows to look at many times, drawn at random from all, always the same ones.

    Examples:
        >>> chosen_rows(torch.zeros(3, 2)), len(chosen_rows(torch.zeros(600, 2)))
        (tensor([0, 1, 2]), 500)
    """
    count = count or max(_FEWEST_ROWS, min(_ROWS, _ELEMENTS // max(1, rows[:1].numel())))
    return torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count].sort().values


class Given(NamedTuple):
    """What a function is asked about: `function(pair, *args, **named)`."""

    args: tuple[Any, ...]
    named: dict[str, Any]


class Subject(NamedTuple):
    """A pair and the data to look at it with; `restore` turns what the pair gives into units of the raw data.

    Of several arguments one holds what the pair observes, `key`; the others are covariates and go with its rows.
    """

    pair: Any
    batch: Batch
    restore: Callable[[torch.Tensor], np.ndarray]
    names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    seed: int = 0
    schema: Schema | None = None
    key: int | str = 0

    @property
    def rows(self) -> torch.Tensor:
        """The argument that holds what the pair observes."""
        return self.batch.leaves[self.key]

    def at(self, places: torch.Tensor, rows: torch.Tensor | None = None) -> Given:
        """All arguments at some places, with other rows where these are given."""
        taken = {key: leaf[places] for key, leaf in self.batch.leaves.items()}
        return Given(*Batch.of(taken if rows is None else {**taken, self.key: rows})[:2])

    def first(self, count: int) -> Given:
        """All arguments of the first rows."""
        return self.at(torch.arange(min(count, len(self.rows))))

    def originals(self, count: int) -> np.ndarray:
        """The first rows, raw."""
        return self.restore(self.rows[:count])

    def observed(self) -> str:
        """The observed site that looks like the data."""
        two = self.first(2)
        sites = pv.reconstruct(self.pair, *two.args, **two.named)
        shape = self.rows.shape[1:]
        return next((site for site, value in sites.items() if value.shape[1:] == shape), next(iter(sites)))

    def reconstructions(self, count: int) -> np.ndarray:
        """The means of the likelihood at the first rows' encodings."""
        few = self.first(count)
        return self.restore(pv.reconstruct(self.pair, *few.args, seed=self.seed, **few.named)[self.observed()])

    def samples(self, count: int, *, mean: bool) -> np.ndarray:
        """New data; a pair that cannot be asked for a number of them gets rows for their shape."""
        alone = has_blank(self.pair) and len(self.batch.leaves) == 1
        given = Given((count,), {}) if alone else self.at(torch.arange(count) % len(self.rows))
        drawn = pv.generate(self.pair, *given.args, seed=self.seed, mean=mean, **given.named)
        return self.restore(drawn[self.observed()])


class Latent(NamedTuple):
    """The encodings of one site: means and scales `(rows, dims)`."""

    site: str
    means: np.ndarray
    scales: np.ndarray

    def plane(self) -> tuple[np.ndarray, tuple[str, str]]:
        """The means in two dimensions, and what the axes are: PCA where there are more than two."""
        return in_plane(self.means, self.scales, self.site)


def latent_of(subject: Subject, count: int) -> Latent | None:
    """The first site with a mean, not of classes, whose event is a vector or a number."""
    few = subject.first(count)
    sampler = Sampler.of(subject.pair, few.args, few.named, seed=0)
    for site, found in encodings(sampler, classes=False).items():
        if found.mean.ndim <= 2 and found.mean.is_floating_point():
            means, scales = (tensor.reshape(len(tensor), -1).double().numpy() for tensor in found)
            return Latent(site, means, scales)
    return None


class Traversal(NamedTuple):
    """Data `(dims, steps, *event)` as one latent dimension after another goes through its usual values."""

    dims: list[int]
    places: np.ndarray
    values: np.ndarray


def traverse(subject: Subject, latent: Latent) -> Traversal:
    """Decode around the first row's encoding, along the dimensions that vary most over the data."""
    spread = np.sqrt(latent.means.var(0) + (latent.scales**2).mean(0))
    dims = np.argsort(-latent.means.var(0))[:_DIMS].tolist()
    places = np.linspace(-_REACH, _REACH, _STEPS)
    codes = np.repeat(latent.means[:1], len(dims) * _STEPS, 0)
    for row, dim in enumerate(dims):
        codes[row * _STEPS : (row + 1) * _STEPS, dim] = latent.means[:, dim].mean() + places * spread[dim]
    values = subject.restore(_decode(subject, latent.site, codes))
    return Traversal(dims, places, values.reshape(len(dims), _STEPS, *values.shape[1:]))


def _decode(subject: Subject, site: str, codes: np.ndarray) -> torch.Tensor:
    """The likelihood's mean where one latent site has these values and all others those of the first row."""
    batch = Batch(*subject.at(torch.zeros(len(codes), dtype=torch.long)))
    batch = placed(subject.pair, batch).place(batch)
    observed = subject.observed()
    with isolated(subject.seed), torch.no_grad():
        guide = poutine.trace(subject.pair.guide).get_trace(*batch.args, **batch.kwargs)
        for name in guide.stochastic_nodes:
            value = guide.nodes[name]["value"]
            if len(value.shape) and len(value) == len(codes):
                guide.nodes[name]["value"] = value[:1].expand_as(value)
        value = guide.nodes[site]["value"]
        guide.nodes[site]["value"] = torch.as_tensor(codes, dtype=value.dtype, device=value.device).reshape(value.shape)
        model = poutine.trace(poutine.replay(subject.pair.model, trace=guide)).get_trace(*batch.args, **batch.kwargs)
        return model.nodes[observed]["fn"].mean.cpu()
