"""What the report shows of images."""

from __future__ import annotations

from html import escape

import numpy as np

from pyrovae.errors import PyrovaeError
from pyrovae.plots import pictures
from pyrovae.report.certainty import certainty_of
from pyrovae.report.report_data import ReportData
from pyrovae.report.section import Section
from pyrovae.report.views import Latent, traverse

_PAIRS, _SAMPLES = 16, 48


def image_reconstructions(about: ReportData, limits: tuple[float, float]) -> Section:
    """Originals, their reconstructions, and where these are uncertain."""
    originals, again = about.originals(_PAIRS), about.reconstructions(_PAIRS)
    maps = _maps(about, originals.shape)
    columns = [f"{_tile(above, limits)}{_tile(below, limits)}" for above, below in zip(originals, again, strict=True)]
    if maps is not None:
        high = float(maps.max()) or 1.0
        columns = [column + _tile(one, (0.0, high)) for column, one in zip(columns, maps, strict=True)]
    tiles = "".join(f'<div class="pair">{column}</div>' for column in columns)
    third = (
        "; the third picture is the map of its uncertainty, brighter where values are spread further around it"
        if maps is not None
        else ""
    )
    return Section(
        "Reconstructions",
        f'<div class="tiles">{tiles}</div>',
        "Above is an original that was held out, below it what the decoder makes of its encoding: what is missing "
        f"below is what the latent variables do not carry{third}.",
    )


def _maps(about: ReportData, shape: tuple[int, ...]) -> np.ndarray | None:
    """The uncertainty of each pixel of the first rows, where the pair has one."""
    try:
        maps = certainty_of(about, shape[0]).elements
    except (PyrovaeError, ValueError, NotImplementedError):
        return None
    return maps.reshape(shape) if maps.size == np.prod(shape) and np.isfinite(maps).all() else None


def image_samples(about: ReportData, limits: tuple[float, float]) -> Section:
    """Draws from the prior, decoded."""
    tiles = [_tile(value, limits) for value in about.samples(_SAMPLES, mean=True)]
    return Section(
        "Samples",
        f'<div class="tiles">{"".join(tiles)}</div>',
        "New images: a latent vector drawn from the prior, and the mean of the likelihood there; they should look "
        "like data, and like many kinds of data.",
    )


def image_traversal(about: ReportData, latent: Latent, limits: tuple[float, float]) -> Section:
    """One latent dimension a row."""
    found = traverse(about, latent)
    rows = [
        f'<div class="label">{escape(latent.site)}[{dim}]</div>{"".join(_tile(value, limits) for value in row)}'
        for dim, row in zip(found.dims, found.values, strict=True)
    ]
    return Section(
        "Traversal",
        f'<div class="traversal" style="--steps:{len(found.places)}">{"".join(rows)}</div>',
        f"Each row moves one latent dimension of the first original from {found.places[0]:g} to {found.places[-1]:g} "
        "standard deviations and leaves the others: a row that changes nothing is a dimension that is not used.",
    )


def _tile(value: np.ndarray, limits: tuple[float, float]) -> str:
    return f'<img alt="" src="{pictures.data_url(value, limits)}">'
