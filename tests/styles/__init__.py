"""Pairs after Pyro's documentation, one for each style there: what plain Pyro says of them, pyrovae says, too."""

from styles import (
    autoencoders,
    hierarchies,
    mixtures,
    populations,
    regressions,
    semi_supervised,
    sequences,
    single_cells,
    strangers,
    topics,
)
from styles.style import FUNCTIONS, STYLES, Made, Style

__all__ = [
    "FUNCTIONS",
    "STYLES",
    "Made",
    "Style",
    "autoencoders",
    "hierarchies",
    "mixtures",
    "populations",
    "regressions",
    "semi_supervised",
    "sequences",
    "single_cells",
    "strangers",
    "topics",
]
