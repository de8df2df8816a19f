"""What moved latent values do to data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrovae.errors import ArgumentError, argument
from pyrovae.plots.data_figures import PANELS, Shape
from pyrovae.plots.layouts import panels, sheet
from pyrovae.plots.one_site import as_rows
from pyrovae.plots.pictures import is_picture


def traversal(
    values: Any,
    *,
    moved: Sequence[float] | None = None,
    row: int = 0,
    site: str | None = None,
    shape: Shape | None = None,
) -> Any:
    """What each latent dimension does to a datum, one line of pictures or one panel of curves for each.

    Args:
        values: (dims, values, rows, *event), or what `pv.traverse` returned.
        moved: the values that each dimension took, for the words of the curves.
        row: which of the rows.
        site: whose, where there are several observed ones.
        shape: of a datum; see `samples`.

    Returns:
        A matplotlib `Figure`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> len(pv.plots.traversal(pv.traverse(vae, torch.randn(1, 5))).axes)
        2
    """
    whole = as_rows(values, "plots.traversal", site=site)
    if whole.ndim < 3 or not -whole.shape[2] <= row < whole.shape[2]:
        raise ArgumentError(
            f"plots.traversal: shape {whole.shape} and {row=}; give what pv.traverse returned, (dims, values, rows, "
            "*event), and one of its rows."
        )
    chosen = whole[:, :, row]
    dims, count = chosen.shape[:2]
    rows = as_rows(chosen.reshape(dims * count, *chosen.shape[2:]), "plots.traversal", shape=shape)
    if is_picture(rows.shape[1:]):
        return sheet(rows, count, words=[f"dim {dim}" for dim in range(dims)])
    words = [f"{value:g}" for value in moved] if moved is not None else [str(number) for number in range(count)]
    if len(words) != count:
        raise ArgumentError(f"plots.traversal: {len(words)} numbers in moved=, and {count} values of each dimension.")
    figure, axes = panels(min(PANELS, dims))
    for dim, axis in enumerate(axes):
        for step, word in enumerate(words):
            color = str(0.75 - 0.75 * step / max(1, count - 1))
            axis.plot(rows[dim * count + step].reshape(-1), "o-", markersize=2, color=color, label=word)
        axis.set_title(f"dim {dim}", fontsize="small")
    axes[0].legend(frameon=False, fontsize="x-small")
    return figure


def plane(
    values: Any,
    *,
    row: int = 0,
    site: str | None = None,
    shape: Shape | None = None,
    moved: Sequence[float] | None = None,
) -> Any:
    """The data that two latent dimensions span, as a plane of pictures.

    Args:
        values: (values, values, rows, *event), what `pv.traverse(..., together=True)` returned of two dimensions.
        row: which of the rows.
        site: whose, where there are several observed ones.
        shape: of a datum; see `samples`.
        moved: the values that both dimensions took, for the words at the edges.

    Returns:
        A matplotlib `Figure`: the first dimension from left to right, the second upwards.

    Examples:
        >>> import torch, pyrovae as pv
        >>> x = torch.rand(1, 25)
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 25)), pv.DiagNormal(pv.MLP(25, [], 4)))
        >>> figure = pv.plots.plane(pv.traverse(vae, x, together=True), shape=(5, 5))
    """
    whole = as_rows(values, "plots.plane", site=site)
    if whole.ndim < 4 or whole.shape[0] != whole.shape[1] or not -whole.shape[2] <= row < whole.shape[2]:
        raise ArgumentError(
            f"plots.plane: shape {whole.shape} and {row=}; give what pv.traverse(..., together=True) returned of two "
            "dimensions, (values, values, rows, *event), and one of its rows."
        )
    count = len(whole)
    if moved is not None and len(moved) != count:
        raise ArgumentError(f"plots.plane: {len(moved)} numbers in moved=, and {count} values of each dimension.")
    upwards = whole[:, ::-1, row].swapaxes(0, 1)
    rows = as_rows(upwards.reshape(count * count, *whole.shape[3:]), "plots.plane", shape=shape)
    if not is_picture(rows.shape[1:]):
        raise ArgumentError(
            f"plots.plane: data of shape {rows.shape[1:]} are no pictures; give "
            f"{argument('shape', text='(height, width)')}."
        )
    figure = sheet(rows, count, words=[] if moved is None else [f"{one:g}" for one in list(moved)[::-1]])
    figure.axes[0].set(xlabel="first dimension", ylabel="second dimension")
    return figure
