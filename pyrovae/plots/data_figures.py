"""Data as figures: pictures as pictures, anything else as curves over its cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.layouts import filled, panels, sheet
from pyrovae.plots.one_site import as_rows
from pyrovae.plots.pictures import is_picture, value_range

Shape = tuple[int, ...]

PANELS = 12  # more are too small to read


def samples(values: Any, *, site: str | None = None, shape: Shape | None = None, columns: int | None = None) -> Any:
    """Data beside each other: drawn ones, or those given.

    Args:
        values: (n, *event): data, or what `pv.generate` returned.
        site: whose, where there are several.
        shape: of a datum, such as (28, 28) for images that are kept as 784 cells.
        columns: pictures in a row; left out, about as many as rows.

    Returns:
        A matplotlib `Figure`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> figure = pv.plots.samples(torch.rand(16, 784), shape=(28, 28))
        >>> len(figure.axes)
        1
    """
    rows = as_rows(values, "plots.samples", site=site, shape=shape)
    if is_picture(rows.shape[1:]):
        return sheet(rows, columns or math.ceil(math.sqrt(len(rows))))
    figure, (axis,) = blank_figure(size=(6.4, 3.2))
    if rows.ndim == 1:
        axis.hist(rows[np.isfinite(rows)], bins="auto")
        axis.set(xlabel=site or "value", ylabel="rows")
        return figure
    axis.plot(rows.reshape(len(rows), -1).T, color="C0", lw=0.8, alpha=max(0.05, min(0.8, 8 / len(rows))))
    axis.set(xlabel="cell", ylabel=site or "value")
    return figure


def reconstructions(data: Any, values: Any, *, site: str | None = None, shape: Shape | None = None) -> Any:
    """Data, and what the pair makes of them.

    Args:
        data: (n, *event).
        values: the same shape, or what `pv.reconstruct` returned.
        site: whose, where there are several.
        shape: of a datum; see `samples`.

    Returns:
        A matplotlib `Figure`: pictures above their reconstructions, other data as one panel a datum, the first twelve.

    Examples:
        >>> import torch, pyrovae as pv
        >>> x = torch.rand(20, 5)
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> len(pv.plots.reconstructions(x, pv.reconstruct(vae, x)).axes)
        12
    """
    above = as_rows(data, "plots.reconstructions", site=site, shape=shape)
    below = as_rows(values, "plots.reconstructions", site=site, shape=shape)
    if above.shape != below.shape:
        raise ArgumentError(
            f"plots.reconstructions: data of shape {above.shape} and reconstructions of shape {below.shape}; give both "
            "of the same rows and the same site."
        )
    if is_picture(above.shape[1:]):
        columns = min(8, len(above))
        both = [part[start : start + columns] for start in range(0, len(above), columns) for part in (above, below)]
        return sheet(np.concatenate([filled(part, columns) for part in both]), columns, limits=value_range(above))
    figure, axes = panels(min(PANELS, len(above)))
    for axis, one, other in zip(axes, above, below, strict=False):
        axis.plot(one.reshape(-1), "o", markersize=3, label="data")
        axis.plot(other.reshape(-1), "-", label="reconstruction")
    axes[0].legend(frameon=False, fontsize="small")
    return figure
