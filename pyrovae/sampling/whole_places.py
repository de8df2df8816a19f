"""Values of a plate of which each run draws another part have no places of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError


def check_whole_places(node: Mapping[str, Any], trace: Trace, data_plate: str | None) -> None:
    """Refuse a site in a plate, other than that of the rows, of which each run draws a part at random.

    The first value of one draw would then be of another place than the first of the next. A part that is given,
    `subsample=`, is the same in all draws.
    """
    for frame in node["cond_indep_stack"]:
        if frame.name != data_plate and 0 < frame.size < (frame.full_size or 0) and frame.name in trace.nodes:
            raise PairError(
                f"each run draws {frame.size} of the {frame.full_size} places of the plate {frame.name!r}, and "
                f"{node['name']!r} stands in it: its values in one draw are of other places than in the next. Ask a "
                "pair whose plate holds all of them, without subsample_size; elbo and rate_distortion stand."
            )
