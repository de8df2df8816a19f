"""Guide and replayed model, drawn together: the one sampler that prediction, evaluation and export read."""

from pyrovae.traces.counts import check_counts, check_draws
from pyrovae.traces.densities import Densities, Scored, densities_of, scored, scored_grid
from pyrovae.traces.observations import hides_a_part, mask_of, observed_arguments
from pyrovae.traces.programs import Kind
from pyrovae.traces.runs import Run
from pyrovae.traces.sampler import TILE_ROWS, Sampler
from pyrovae.traces.scoring import Scorer, Scores, scorers
from pyrovae.traces.seeds import check_seed, chosen_seed, seed_for
from pyrovae.traces.tiles import Tile
from pyrovae.traces.use import Use, arguments, check_is_pair

__all__ = [
    "TILE_ROWS",
    "Densities",
    "Kind",
    "Run",
    "Sampler",
    "Scored",
    "Scorer",
    "Scores",
    "Tile",
    "Use",
    "arguments",
    "check_counts",
    "check_draws",
    "check_is_pair",
    "check_seed",
    "chosen_seed",
    "densities_of",
    "hides_a_part",
    "mask_of",
    "observed_arguments",
    "scored",
    "scored_grid",
    "scorers",
    "seed_for",
]
