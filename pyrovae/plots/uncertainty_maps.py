"""Where data are uncertain, and what of."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.plots.data_figures import Shape
from pyrovae.plots.layouts import lines_of
from pyrovae.plots.one_site import as_rows, one_site
from pyrovae.plots.pictures import is_picture, picture, value_range


def uncertainty_maps(data: Any, found: Any, *, site: str | None = None, shape: Shape | None = None) -> Any:
    """Where each datum is uncertain, and what of: noise, latent sites, weights.

    Args:
        data: (n, *event), the data that were asked about; the first eight are drawn.
        found: what `pv.uncertainty` returned, or one site's.
        site: whose, where there are several.
        shape: of a datum; see `samples`.

    Returns:
        A matplotlib `Figure`: a column a datum, a line a part, all parts in one scale.

    Examples:
        >>> import torch, pyrovae as pv
        >>> x = torch.rand(4, 25).bernoulli()
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 25)), pv.DiagNormal(pv.MLP(25, [], 4)))
        >>> figure = pv.plots.uncertainty_maps(x, pv.uncertainty(vae, x, draws=20), shape=(5, 5))
    """
    what = "plots.uncertainty_maps"
    parts = one_site(found, site, what)
    rows = as_rows(data, what, site=site, shape=shape)[:8]
    names = [name for name in ("total", "aleatoric", "latent", "epistemic") if hasattr(parts, name)]
    if not names:
        raise ArgumentError(f"{what}: {type(found).__name__} has no parts; give what pv.uncertainty returned.")
    numbers = {name: as_rows(getattr(parts, name), what)[: len(rows)] for name in names}
    numbers = {name: value.reshape(rows.shape) for name, value in numbers.items() if np.isfinite(value).any()}
    top = max(float(np.nanmax(value)) for value in numbers.values()) or 1.0
    figure, grid_of = lines_of(1 + len(numbers), len(rows))
    limits = value_range(rows)
    shown: Any = None
    for line, (name, values) in enumerate([("data", rows), *numbers.items()]):
        for place, value in enumerate(values):
            axis = grid_of[line][place]
            if not is_picture(rows.shape[1:]):
                axis.plot(value.reshape(-1), "o" if name == "data" else "-", markersize=3)
                axis.set_ylim(None if name == "data" else (0, 1.05 * top))
            elif name == "data":
                axis.imshow(picture(value, limits), cmap="gray", vmin=0, vmax=255)
            else:
                shown = axis.imshow(value if value.ndim == 2 else value.mean(0), cmap="magma", vmin=0, vmax=top)
            axis.set_xticks([])
            axis.set_yticks([] if place or is_picture(rows.shape[1:]) else axis.get_yticks()[1:-1:2])
        grid_of[line][0].set_ylabel({"aleatoric": "noise", "epistemic": "weights"}.get(name, name))
    if shown is not None:
        figure.colorbar(shown, ax=[axis for line in grid_of[1:] for axis in line], shrink=0.6, label=parts.measure)
    return figure
