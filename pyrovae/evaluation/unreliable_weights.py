"""Importance weights that hang on a few draws, told in words."""

from __future__ import annotations

import logging

import torch

from pyrovae.errors import argument

logger = logging.getLogger("pyrovae")

TRUSTED = 0.7  # khat up to which importance weights can be; above it the error of their mean means little

# Of rows whose tail has the shape 0.5 an estimate from 30 to 500 draws puts one in seven above 0.7, and one in seventy
# above 1; of rows with 0.75 a third and a twentieth, whose evidences lie one and a half standard errors too low.
_MOST_DOUBTFUL, _BEYOND, _MOST_BEYOND = 0.25, 1.0, 0.03


def tell_of_unreliable_weights(whom: str, figures: str, consequence: str) -> None:
    """Say that a guide's draws cannot stand for the posterior.

    Args:
        whom: which rows.
        figures: how bad their weights are.
        consequence: what comes of it, and how to mend it, in sentences.
    """
    logger.warning("the guide's draws stand badly for the posterior of %s (%s): %s", whom, figures, consequence)


def tell_of_unreliable_evidence(khat: torch.Tensor) -> None:
    """Say it where more rows have weights that cannot be trusted than would by chance.

    Args:
        khat: the shapes of the weights' tails, (rows,), NaN where there is none to be fitted; () for a whole set.
    """
    if not stand_badly(khat.reshape(-1)):
        return
    whom = f"{int((khat > TRUSTED).sum())} of {len(khat)} rows" if khat.ndim else "all rows together"
    tell_of_unreliable_weights(
        whom,
        f"khat above {TRUSTED:g}, up to {float(khat.nan_to_num(nan=0.0).max()):.2g}",
        "their evidence is likely too low, and by more than its standard error says. Train the guide further or give "
        f"it a richer family, take more draws ({argument('draws')}), or ask pv.ais; pv.psis shows khat row by row.",
    )


def stand_badly(khat: torch.Tensor) -> bool:
    """Whether more rows have weights that cannot be trusted than would by chance, (rows,)."""
    limits = ((TRUSTED, _MOST_DOUBTFUL), (_BEYOND, _MOST_BEYOND))
    return any(float((khat > limit).double().mean()) > most for limit, most in limits)
