"""Which cells of each datum a figure of it hangs on."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.plots.data_figures import Shape
from pyrovae.plots.layouts import lines_of
from pyrovae.plots.one_site import as_rows
from pyrovae.plots.pictures import is_picture, picture, value_range

_BARS = 12  # more names cannot be read beside each other


def cell_shares(data: Any, found: Any, *, shape: Shape | None = None) -> Any:
    """The shares of an explanation: maps below pictures, bars with two standard errors for anything else.

    Args:
        data: (n, *event), the data that were explained; the first eight are drawn, of vectors the first four.
        found: what `pv.explain` returned.
        shape: of a datum; see `samples`.

    Returns:
        A matplotlib `Figure`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(4, 1), torch.zeros(4), 0.5)
        >>> x = truth.sample(3)
        >>> found = pv.explain(truth, x, absent=0.0, draws=2, repeats=2)
        >>> len(pv.plots.cell_shares(x, found).axes), len(pv.plots.cell_shares(x, found, shape=(2, 2)).axes)
        (3, 7)
    """
    what = "plots.cell_shares"
    if not hasattr(found, "contribution"):
        raise ArgumentError(f"{what}: {type(found).__name__} has no shares; give what pv.explain returned.")
    rows = as_rows(data, what, shape=shape)
    if len(rows) != len(found.contribution):
        raise ArgumentError(f"{what}: {len(rows)} data and shares of {len(found.contribution)}; give the same rows.")
    return _maps(rows[:8], found) if is_picture(rows.shape[1:]) else _bars(found, min(4, len(rows)))


def _maps(rows: np.ndarray, found: Any) -> Any:
    shares = found.contribution[: len(rows)].numpy()
    if found.groups is not None:
        shares = shares[:, found.groups.numpy()]
    shares = shares.reshape(rows.shape)
    top = float(np.abs(shares).max()) or 1.0
    figure, (above, below) = lines_of(2, len(rows))
    limits, shown = value_range(rows), None
    for place, (row, share) in enumerate(zip(rows, shares, strict=True)):
        above[place].imshow(picture(row, limits), cmap="gray", vmin=0, vmax=255)
        share = share if share.ndim == 2 else share.sum(0)
        shown = below[place].imshow(share, cmap="RdBu_r", vmin=-top, vmax=top)
        for axis in (above[place], below[place]):
            axis.set(xticks=[], yticks=[])
    above[0].set_ylabel("data")
    below[0].set_ylabel("shares")
    figure.colorbar(shown, ax=below, shrink=0.8, label=f"share in {found.of}")
    return figure


def _bars(found: Any, count: int) -> Any:
    from matplotlib.figure import Figure

    shown = min(_BARS, found.contribution[0].numel())
    figure = Figure(figsize=(1.0 + 2.8 * count, 0.9 + 0.28 * shown), layout="constrained")
    for place, axis in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        names, shares, errors = zip(*reversed(found.ranked(place)[:shown]), strict=True)
        colours = ["C3" if share > 0 else "C0" for share in shares]
        places = np.arange(shown)
        axis.barh(places, shares, xerr=2 * np.asarray(errors), color=colours, height=0.7, ecolor="0.3")
        axis.set_yticks(places, [str(name) for name in names])
        axis.axvline(0, color="0.5", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set(title=f"row {place}", xlabel=f"share in {found.of}")
    return figure
