"""What a report shows of a pair: reconstructions, samples, encodings in two dimensions, a traversal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import pyrovae as pv
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
    one, observed = about.first(1), about.observed()

    def moved(dim: int) -> np.ndarray:
        values = latent.means[:, dim].mean() + places * spread[dim]
        found = pv.traverse(about.pair, *one.args, site=latent.site, dims=[dim], values=values, **one.named)
        return about.restore(found[observed][0, :, 0])

    return Traversal(dims, places, np.stack([moved(dim) for dim in dims]))
