"""Values of a plate of which each run draws another part have no places of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError, argument

WHOLE_MEND = f"without {argument('subsample_size')} or {argument('subsample')}; elbo and rate_distortion stand"


def check_whole_places(node: Mapping[str, Any], trace: Trace, data_plate: str | None) -> None:
    """Refuse a site in a plate, other than that of the rows, of which each run holds a part.

    The first value of one draw would be of another place than the first of the next. A trace does not tell whether
    the part was drawn, or is the same in all runs (`subsample=`).
    """
    for frame in node["cond_indep_stack"]:
        if frame.name != data_plate and 0 < frame.size < (frame.full_size or 0) and frame.name in trace.nodes:
            raise PairError(
                f"each run holds {frame.size} of the {frame.full_size} places of the plate {frame.name!r}, and "
                f"{node['name']!r} stands in it: its values in one draw may be of other places than in the next. Ask a "
                f"pair whose plate holds all of them, {WHOLE_MEND}."
            )
