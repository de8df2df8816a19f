"""What a figure is given: the arrays of one site, in whatever form a function of the package returned them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError, argument


def one_site(given: Any, site: str | None, what: str) -> Any:
    """The value of a site, where a function returned one for each."""
    if not isinstance(given, Mapping):
        return given
    if site is None and len(given) == 1:
        return next(iter(given.values()))
    if site not in given:
        raise ArgumentError(
            f"{what}: {argument('site', site)} is none of {', '.join(map(repr, given)) or 'none'}; name one of these."
        )
    return given[site]


def as_rows(given: Any, what: str, *, site: str | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Numbers (rows, *event), finite or not.

    Args:
        given: a tensor or an array, or what a function returned for each site.
        what: the function that asks, for its errors.
        site: whose, where there are several.
        shape: of a datum, where it is not the one that the numbers have.
    """
    values = one_site(given, site, what)
    values = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise ArgumentError(f"{what} draws numbers, and was given {values.dtype}.")
    if values.ndim < 1 or not values.size:
        raise ArgumentError(f"{what}: shape {values.shape} holds no rows; give (rows, *event).")
    if shape is None:
        return values
    if np.prod(shape, dtype=int) * len(values) != values.size:
        raise ArgumentError(
            f"{what}: {argument('shape', shape)} has another number of cells than a row of {values.shape[1:]}."
        )
    return values.reshape(len(values), *shape)
