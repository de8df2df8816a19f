"""A run trained again from several seeds: how far its figures are luck."""

from __future__ import annotations

from typing import Any

from pyrovae.cli.measures import Effort
from pyrovae.cli.own_pair import make_pair
from pyrovae.cli.prepare import prepare_again
from pyrovae.cli.train import fit_arguments
from pyrovae.cli.trained_run import Trained
from pyrovae.export.card_figures import finite
from pyrovae.training.studies import over_seeds as studies


def over_seeds(run: Trained, effort: Effort, seeds: int) -> dict[str, Any]:
    """Train the run's pair from so many seeds, the run's own and those after it; mean and spread of each figure."""
    prepared = prepare_again(run.folder, run.config, run.own_pair)

    def make() -> Any:
        model_config = run.model_config
        return make_pair(run.own_pair or "") if model_config is None else model_config.build(prepared.rows)

    spread = studies.over_seeds(
        make,
        prepared.training,
        held_out=effort.chosen(run.arguments()),
        seeds=seeds,
        seed=prepared.settings.seed,
        draws=effort.evidence_draws,
        **fit_arguments(prepared),
    )
    figures = {name: finite({"mean": mean, "spread": width}) for name, mean, width in spread.table()}
    return {"seeds": list(spread.seeds), "figures": figures}
