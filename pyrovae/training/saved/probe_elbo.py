"""One figure by which a checkpoint knows its pair again."""

from __future__ import annotations

import math

from pyrovae.evaluation.rate_distortion import measure
from pyrovae.objectives.losses import own_loss
from pyrovae.training.plan import Plan

_ROWS = 32


def probe_elbo(plan: Plan) -> float:
    """The ELBO of the first rows under fixed random numbers: another model of the same shapes gives another."""
    first = plan.batches.first(_ROWS if plan.batches.rows is None else None)
    try:
        loss = own_loss(plan.loss)
        return measure(plan.pair, [first], plan.placement, loss, plan.structure, seed=0).figures.elbo
    except Exception:
        return math.nan  # weights that no distribution takes; there is nothing to compare


def is_same_elbo(one: float, two: float) -> bool:
    """Whether two of them may be of one pair; of what is not finite nothing is known."""
    # Another number of threads, or another machine, sums in another order.
    return math.isclose(one, two, rel_tol=1e-3, abs_tol=1e-4) or not (math.isfinite(one) and math.isfinite(two))
