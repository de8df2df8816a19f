"""What a report shows of a pair: reconstructions, samples, encodings in two dimensions, a traversal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from pyro import poutine

from pyrovae.data.batch_sources import Batch
from pyrovae.data.placement import placed
from pyrovae.pairs.isolation import isolated
from pyrovae.plots.latent_plane import in_plane
from pyrovae.prediction.encode import encodings
from pyrovae.report.report_data import ReportData
from pyrovae.sampling.sampler import Sampler

# As many latent dimensions as fit below each other.
_DIMS = 6

_STEPS = 9

# Standard deviations on either side: 98.8 % of a normal.
_REACH = 2.5


class Latent(NamedTuple):
    """The encodings of one site: means and scales `(rows, dims)`."""

    site: str
    means: np.ndarray
    scales: np.ndarray

    def plane(self) -> tuple[np.ndarray, tuple[str, str]]:
        """The means in two dimensions, and what the axes are: PCA where there are more than two."""
        return in_plane(self.means, self.scales, self.site)


def latent_of(about: ReportData, count: int) -> Latent | None:
    """The first site with a mean, not of classes, whose event is a vector or a number."""
    few = about.first(count)
    sampler = Sampler.of(about.pair, few.args, few.named, seed=0)
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


def traverse(about: ReportData, latent: Latent) -> Traversal:
    """Decode around the first row's encoding, along the dimensions that vary most over the data."""
    spread = np.sqrt(latent.means.var(0) + (latent.scales**2).mean(0))
    dims = np.argsort(-latent.means.var(0))[:_DIMS].tolist()
    places = np.linspace(-_REACH, _REACH, _STEPS)
    codes = np.repeat(latent.means[:1], len(dims) * _STEPS, 0)
    for row, dim in enumerate(dims):
        codes[row * _STEPS : (row + 1) * _STEPS, dim] = latent.means[:, dim].mean() + places * spread[dim]
    values = about.restore(_decode(about, latent.site, codes))
    return Traversal(dims, places, values.reshape(len(dims), _STEPS, *values.shape[1:]))


def _decode(about: ReportData, site: str, codes: np.ndarray) -> torch.Tensor:
    """The likelihood's mean where one latent site has these values and all others those of the first row."""
    batch = Batch(*about.at(torch.zeros(len(codes), dtype=torch.long)))
    batch = placed(about.pair, batch).place(batch)
    observed = about.observed()
    with isolated(about.seed), torch.no_grad():
        guide = poutine.trace(about.pair.guide).get_trace(*batch.args, **batch.kwargs)
        for name in guide.stochastic_nodes:
            value = guide.nodes[name]["value"]
            if len(value.shape) and len(value) == len(codes):
                guide.nodes[name]["value"] = value[:1].expand_as(value)
        value = guide.nodes[site]["value"]
        guide.nodes[site]["value"] = torch.as_tensor(codes, dtype=value.dtype, device=value.device).reshape(value.shape)
        model = poutine.trace(poutine.replay(about.pair.model, trace=guide)).get_trace(*batch.args, **batch.kwargs)
        return model.nodes[observed]["fn"].mean.cpu()
