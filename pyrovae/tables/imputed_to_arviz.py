"""Imputations as ArviZ takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pyrovae.evaluation.arviz_versions import from_groups
from pyrovae.export.variable_names import variable_name


def imputed_to_arviz(
    values: Mapping[str, torch.Tensor],
    missing: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
    columns: Mapping[str, Sequence[str]],
) -> Any:
    """Draws of completed data, what was observed, and how far each row can be trusted.

    Args:
        values: `{site: (draws, rows, ...)}`.
        missing: `{site: (rows, ...)}`, which cells were drawn.
        weights: figures of each row, (rows,).
        columns: what the columns of a site are called.
    """
    import xarray

    coordinates = {"column": next(iter(columns.values()))} if columns else {}
    drawn, observed = {}, {}
    for site, value in values.items():
        more = [f"{variable_name(site)}_dim_{number}" for number in range(value.ndim - 2)]
        dims = ["row", *(["column"] if site in columns else more)]
        drawn[variable_name(site)] = (["chain", "draw", *dims], value[None].numpy())
        seen = value[0].double().masked_fill(missing[site], torch.nan)
        observed[variable_name(site)] = (dims, seen.numpy())
    groups = {
        "posterior_predictive": xarray.Dataset(drawn, coordinates),
        "observed_data": xarray.Dataset(observed, coordinates),
        "constant_data": xarray.Dataset({name: (["row"], one.numpy()) for name, one in weights.items()}),
    }
    return from_groups(groups, {"creation_library": "pyrovae"})
