"""What the head of the report says of a training as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyrovae.training.epoch import Epoch
from pyrovae.training.verdict import TROUBLE, Verdict, VerdictKind, active_verdict, curve_verdict, no_elbo_verdict

# What counts before the curve, the worst first.
_BEFORE = (*TROUBLE, VerdictKind.NO_ELBO, VerdictKind.TOLD_APART, VerdictKind.MISCOVERED)


class OverallVerdict(NamedTuple):
    """The kind that counts, and all that is said."""

    kind: VerdictKind
    sentences: tuple[str, ...]

    @property
    def style(self) -> str:
        """The class in the page's style sheet: good, worth a look, or bad."""
        if self.kind is VerdictKind.LEVELLED_OFF:
            return "good"
        return "bad" if self.kind in TROUBLE else "look"


def overall_verdict(
    history: tuple[Epoch, ...] | None,
    active: Mapping[str, Any],
    outcome: Mapping[str, Any],
    table: Sequence[Verdict] = (),
    no_elbo: str = "",
) -> OverallVerdict:
    """The verdict on a run: diverged and collapsed before all else, then no ELBO, what a table shows, the curve.

    Where nothing is known of the training, what the latent sites show takes the place of the curve.
    """
    latents = [active_verdict(site, units) for site, units in active.items()]
    if history is None:
        none = [Verdict(VerdictKind.NO_ELBO, f"There is no ELBO, rate or evidence of it: {no_elbo}")] if no_elbo else []
        said = (*none, *table, *latents)
        kinds = [verdict.kind for verdict in said]
        kind = next((bad for bad in _BEFORE if bad in kinds), VerdictKind.ACTIVE)
        return OverallVerdict(kind, tuple(one.words for one in said))
    none = [no_elbo_verdict(no_elbo)] if no_elbo else []
    diverged = outcome.get("reason") == "diverged"
    first = outcome.get("first_elbo")
    curve = (
        Verdict(VerdictKind.DIVERGED, outcome["words"])
        if diverged
        else curve_verdict(history, math.nan if first is None else first)
    )
    first_said = [one.words for one in (*none, *table)]
    kinds = [verdict.kind for verdict in (*none, curve, *latents, *table)]
    kind = next((bad for bad in _BEFORE if bad in kinds), curve.kind)
    kept = ["The weights kept are those of the best epoch."] if outcome.get("weights") == "best" else []
    if outcome.get("reason") == "interrupted":
        kept.append("The run was interrupted; train --resume goes on with it.")
    return OverallVerdict(kind, (*first_said, curve.words, *kept, *(one.words for one in latents)))
