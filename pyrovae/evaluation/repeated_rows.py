"""Real rows that stand several times where drawn ones do not: whoever is shown one knows the others."""

from __future__ import annotations

import numpy as np

from pyrovae.errors import warn_user

_MORE = 0.3  # of the real rows: a bootstrap sample has 0.37, and few rows of zeros and ones have fewer by nature


def tell_of_repeats(real: np.ndarray, drawn: np.ndarray, where: str) -> None:
    """Warn where real rows that are held out have twins among those that are not, and drawn ones never have.

    Where drawn rows repeat each other or real ones, values are few, and to know them by heart is to know how common
    they are.

    Args:
        real: (rows, features).
        drawn: likewise.
        where: which function asks.
    """
    known, made = ({row.tobytes() for row in rows} for rows in (real, drawn))
    repeats = len(real) - len(known)
    if repeats > _MORE * len(real) and len(made) == len(drawn) and not made & known:
        warn_user(
            f"{where}: {repeats} of {len(real)} real rows repeat others, and of {len(drawn)} drawn ones none does. "
            "Rows that are held out then have twins among those that are not, which tell them from draws by heart, "
            "and rows count as more than there are. Give each once, unless it is common indeed and the pair should "
            "draw it as often."
        )
