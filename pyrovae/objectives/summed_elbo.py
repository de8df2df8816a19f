"""The ELBO of pairs with sites that are summed out, whatever the precision of each site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO
from pyro.poutine.trace_struct import Trace


class SummedELBO(TraceEnum_ELBO):
    """`TraceEnum_ELBO`, also where some sites are in double precision and others are not."""

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        traces = super()._get_trace(model, guide, args, kwargs)
        to_one_precision(traces)
        return traces


def to_one_precision(traces: Iterable[Trace]) -> None:
    """Bring packed log-probabilities, which a contraction multiplies, to the most precise type among them."""
    packed = [node["packed"] for trace in traces for node in trace.nodes.values() if "packed" in node]
    values = (value for one in packed for value in one.values() if isinstance(value, torch.Tensor))
    kinds = {value.dtype for value in values if value.is_floating_point()}  # masks have none
    if len(kinds) < 2:
        return
    widest = max(kinds, key=lambda kind: torch.finfo(kind).bits)
    for one in packed:
        for name, value in one.items():
            one[name] = (
                type(value)(*(_as(part, widest) for part in value)) if isinstance(value, tuple) else _as(value, widest)
            )


def _as(value: Any, kind: torch.dtype) -> Any:
    if not isinstance(value, torch.Tensor) or not hasattr(value, "_pyro_dims") or not value.is_floating_point():
        return value
    cast = value.to(kind)
    cast._pyro_dims = value._pyro_dims  # type: ignore[attr-defined]  # the names of its dims, which a cast loses
    return cast
