"""What the head of the report says of a training as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyrovae.training.epoch import Epoch
from pyrovae.training.verdict import TROUBLE, Verdict, VerdictKind, training_verdicts

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
    if history is None:
        none = [Verdict(VerdictKind.NO_ELBO, f"There is no ELBO, rate or evidence of it: {no_elbo}")] if no_elbo else []
        said = (*none, *table, *training_verdicts((), active).latents)
        return OverallVerdict(_worst(said) or VerdictKind.ACTIVE, tuple(one.words for one in said))
    found = training_verdicts(history, active, first=outcome.get("first_elbos") or (), no_elbo=no_elbo)
    if outcome.get("reason") == "diverged":
        found = found._replace(curve=Verdict(VerdictKind.DIVERGED, outcome["words"]))
    kept = ["The weights kept are those of the best epoch."] if outcome.get("weights") == "best" else []
    if outcome.get("reason") == "interrupted":
        kept.append("The run was interrupted; train --resume goes on with it.")
    none, curve = ([one] if one else [] for one in found[:2])
    words = (
        *(one.words for one in (*none, *table, *curve)),
        *kept,
        *(one.words for one in found.latents),
    )
    kind = _worst((*found.all(), *table)) or (found.curve.kind if found.curve else VerdictKind.ACTIVE)
    return OverallVerdict(kind, words)


def _worst(said: Sequence[Verdict]) -> VerdictKind | None:
    """The kind that counts before the curve; None where there is none of these."""
    kinds = [verdict.kind for verdict in said]
    return next((bad for bad in _BEFORE if bad in kinds), None)
