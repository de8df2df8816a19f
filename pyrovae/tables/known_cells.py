"""Cells that are known though they were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrovae.data.check_same_rows import check_same_rows
from pyrovae.data.inspection import as_tensor
from pyrovae.data.rows_of_frames import is_frame
from pyrovae.errors import ArgumentError


def known_cells(given: Any, missing: Mapping[str, torch.Tensor], table: Any) -> dict[str, torch.Tensor]:
    """What was given of each observed site, in double precision, of the shape of what is missing of it.

    Args:
        given: an array of the only site, a frame of the table's, or a dictionary of them by site.
        missing: what was drawn, by site.
        table: the frame that was imputed, where one was.
    """
    if is_frame(given):
        if table is None:
            raise ArgumentError("calibrated_on is a frame, and none was imputed: give an array of the data's shape.")
        given = {table.site: given}
    if not isinstance(given, Mapping):
        if len(missing) != 1:
            raise ArgumentError(
                f"calibrated_on is one array, and {len(missing)} sites were imputed: give them by name."
            )
        given = dict.fromkeys(missing, given)
    if unknown := [site for site in given if site not in missing]:
        raise ArgumentError(f"calibrated_on has {unknown[0]!r}; imputed were {', '.join(map(repr, missing))}.")
    return {site: _cells(one, site, missing[site], table) for site, one in given.items()}


def _cells(given: Any, site: str, missing: torch.Tensor, table: Any) -> torch.Tensor:
    if table is not None and table.site == site:
        check_same_rows(table.frame, given, "calibrated_on")
    rows = table.schema.encode(given) if is_frame(given) and table is not None and table.site == site else given
    rows = as_tensor(rows if isinstance(rows, torch.Tensor) else np.asarray(rows))
    if rows.shape != missing.shape:
        raise ArgumentError(
            f"calibrated_on has the shape {tuple(rows.shape)}, and {site!r} {tuple(missing.shape)}: give the same "
            "rows, with NaN for what is not known."
        )
    return rows.detach().cpu().double()
