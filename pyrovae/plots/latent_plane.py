"""Encodings in two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.errors import ArgumentError
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.plots.one_site import as_rows, one_site

_CLASSES = 20  # more have no colours that can be told apart


def in_plane(means: np.ndarray, scales: np.ndarray, site: str) -> tuple[np.ndarray, tuple[str, str]]:
    """Encodings (rows, dims) in two dimensions, and what the axes are: principal components where there are more.

    Examples:
        >>> in_plane(np.zeros((5, 2)), np.ones((5, 2)), "z")[1]
        ('z[0]', 'z[1]')
    """
    dims = means.shape[1]
    if dims == 1:
        return np.hstack([means, scales]), (f"mean of {site}", f"scale of {site}")
    if dims == 2:
        return means, (f"{site}[0]", f"{site}[1]")
    centred = means - means.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / max(float((sizes**2).sum()), 1e-30)
    return left[:, :2] * sizes[:2], (
        f"first principal component ({shares[0]:.0%} of the variance)",
        f"second ({shares[1]:.0%})",
    )


def latent(encoded: Any, labels: Any = None, *, site: str | None = None) -> Any:
    """Encodings as points, by colour where labels are given.

    Two dimensions as they are, more by their first two principal components, one beside its scale.

    Args:
        encoded: what `pv.encode` returned, or one site's, or means (rows, dims).
        labels: one a row: names or numbers of classes, or numbers of anything, which get a scale of colours.
        site: which latent site, where there are several.

    Returns:
        A matplotlib `Figure`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> x, y = torch.randn(50, 5), torch.arange(50) % 3
        >>> vae = pv.VAE(pv.StandardNormal(4), pv.Normal(pv.MLP(4, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 8)))
        >>> pv.plots.latent(pv.encode(vae, x), labels=y).axes[0].get_ylabel()[:6]
        'second'
    """
    what = "plots.latent"
    found = one_site(encoded, site, what)
    name = site or (next(iter(encoded)) if isinstance(encoded, dict) else "z")
    means = as_rows(getattr(found, "mean", found) if hasattr(found, "scale") else found, what)
    scales = as_rows(found.scale, what) if hasattr(found, "scale") else np.zeros_like(means)
    means, scales = (part.reshape(len(means), -1).astype(float) for part in (means, scales))
    points, axes = in_plane(means, scales, name)
    figure, (axis,) = blank_figure(size=(5.2, 4.2))
    _scatter(axis, points, None if labels is None else _labels(labels, len(points)))
    axis.set(xlabel=axes[0], ylabel=axes[1])
    return figure


def _labels(labels: Any, rows: int) -> np.ndarray:
    values = labels.detach().cpu().numpy() if hasattr(labels, "detach") else np.asarray(labels)
    if values.shape != (rows,):
        raise ArgumentError(f"plots.latent: labels of shape {values.shape} for {rows} rows; give one a row.")
    return values


def _scatter(axis: Any, points: np.ndarray, labels: np.ndarray | None) -> None:
    small = {"s": 12 if len(points) < 2000 else 4, "linewidths": 0}
    if labels is None:
        axis.scatter(*points.T, **small)
        return
    classes = list(dict.fromkeys(labels.tolist()))
    if len(classes) > _CLASSES and labels.dtype.kind in "biuf":
        axis.figure.colorbar(axis.scatter(*points.T, c=labels, **small), ax=axis)
        return
    for number, one in enumerate(sorted(classes, key=lambda label: (str(type(label)), label))):
        axis.scatter(*points[labels == one].T, color=f"C{number}" if number < 10 else f"{number / 40}", **small)
        axis.collections[-1].set_label(str(one))
    axis.legend(frameon=False, fontsize="small", markerscale=1.5, loc="center left", bbox_to_anchor=(1, 0.5))
