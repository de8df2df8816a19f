"""What a run comes to on data, as plain values: the figures of `pyrovae evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

import pyrovae as pv
from pyrovae.cli.annotation import UNKNOWN
from pyrovae.cli.model_config import bits_per_element
from pyrovae.cli.trained_run import Trained, structure_of
from pyrovae.errors import ArgumentError, PairError, PyrovaeError
from pyrovae.export.card_figures import finite
from pyrovae.models.sequences.token_sequence import before_end
from pyrovae.report.report_data import chosen_rows

LEVELS = (0.5, 0.8, 0.9, 0.95)

RELIABLE = 0.7  # below this k-hat, estimates from importance weights can be trusted

Rows = tuple[torch.Tensor, ...]  # what a pair takes

CHAINS, STEPS = 8, 100  # of annealing: a second a row, with a network of usual size on one core

_ANNEALED = 50  # rows

_FEWEST_DRAWS = 25  # a tail of weights is fitted to no fewer


class Effort(NamedTuple):
    """How much is drawn: `draws` for the ELBO of all rows, `evidence_draws` for all else, on so many `rows`.

    `thorough` adds what takes gradients: evidence by annealing, and what the guide costs.
    """

    draws: int = 10
    evidence_draws: int = 200
    rows: int | None = None
    thorough: bool = False

    def check(self) -> None:
        """Refuse what says nothing."""
        if self.evidence_draws < _FEWEST_DRAWS:
            raise ArgumentError(f"--evidence-draws {self.evidence_draws}; give {_FEWEST_DRAWS} at least.")
        if self.rows is not None and self.rows < 1:
            raise ArgumentError(f"--rows {self.rows}; give 1 at least.")

    def chosen(self, data: Rows) -> Rows:
        """The rows to look at many times."""
        return some(data, self.rows)


def some(data: Rows, count: int | None) -> Rows:
    """Rows chosen at random, always the same ones."""
    places = chosen_rows(data[0], count)
    return tuple(one[places] for one in data)


def measure(run: Trained, effort: Effort) -> dict[str, Any]:
    """Every figure that applies, and for the others why they do not."""
    effort.check()
    rows = run.arguments()
    few = effort.chosen(rows)
    missing: dict[str, str] = {}
    found = {"run": str(run.folder.path), "data": run.words, "rows": len(rows[0])}
    try:
        found |= _bound(run, rows, effort.draws)
    except PairError as error:
        missing["elbo"] = str(error)
    found["active_units"] = _active(run, rows)
    found["rows_looked_at_closely"] = len(few[0])
    if labels := labels_told(run):
        found["labels"] = labels
    close = _OF_LINES if run.data.kind == "text" else _CLOSE
    for name, figure in {**close, **(_THOROUGH if effort.thorough else {})}.items():
        try:
            found[name] = finite(figure(run.pair, few, effort.evidence_draws))
        except (PyrovaeError, NotImplementedError) as error:
            missing[name] = str(error)
    return {**found, "left_out": missing}


def _bound(run: Trained, rows: Rows, draws: int) -> dict[str, Any]:
    # The standard error is that of the batches' means, so there should be a few of them.
    measured = pv.rate_distortion(run.pair, *rows, draws=draws, batch_size=min(256, max(1, len(rows[0]) // 16)))
    found = finite(measured._asdict())
    if run.model_config is not None and run.model_config.likelihood in ("bernoulli", "discretized-logistic"):
        found["bits_per_element"] = bits_per_element(-measured.elbo, run.model_config.shape)
    return found


def _active(run: Trained, rows: Rows) -> dict[str, Any]:
    active = pv.active_units(run.pair, *rows)
    return {site: {"count": units.count, "total": units.total} for site, units in active.items()}


def labels_told(run: Trained) -> dict[str, Any] | None:
    """How many labels the model tells that were withheld; None where there are none."""
    if run.annotation is None or run.annotation.role != "labels" or run.data.annotations is None:
        return None
    codes = torch.from_numpy(run.annotation.codes(run.data.annotations))
    known = codes != UNKNOWN
    if not known.any():
        return None
    right = pv.clusters(run.pair, run.rows()[known], site="y").labels == codes[known]
    most = codes[known].bincount().max() / known.sum()
    return {**finite(_over_rows(right)), "rows": int(known.sum()), "most_frequent": float(most)}


# --- figures of some rows, looked at many times -------------------------------------------------------
def _over_rows(value: torch.Tensor) -> dict[str, Any]:
    """The mean over data; its standard error holds both the choice of rows and the draws."""
    value = value.double()
    return {
        "value": float(value.mean()),
        "error": float(value.std() / math.sqrt(len(value))) if len(value) > 1 else None,
    }


def _evidence(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    return _over_rows(pv.log_evidence(pair, *rows, draws=draws).value)


def _weights(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    khat, size = pv.psis(pair, *rows, draws=draws)
    return {
        "draws": draws,
        "reliable_share": float((khat < RELIABLE).double().mean()),
        "median_sample_size": float(size.median()),
    }


def _information(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    found = pv.mutual_information(pair, *rows)
    most = math.log(len(rows[0]))
    return {
        "value": found.mutual_information,
        "error": found.error,
        "most": most,
        "aggregate_kl": found.aggregate_kl,
    }


def _perplexity(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    nats = -pv.log_evidence(pair, *rows, draws=draws).value.double()
    tokens = int(before_end(rows[0]).sum())
    return {"value": math.exp(float(nats.sum()) / tokens), "tokens": tokens}


def _coverage(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    return {
        site: {
            "source": one.source,
            "levels": list(LEVELS),
            "shares": one.coverage.tolist(),
            "errors": one.error.tolist(),
            "verdict": one.verdict,
        }
        for site, one in pv.calibration(pair, *rows, draws=draws, levels=LEVELS).items()
    }


def _resemblance(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    found = pv.resemblance(pair, *rows)
    return {
        "classifier": found.classifier._asdict(),
        "discrepancy": found.discrepancy._asdict(),
        **found.neighbourhoods._asdict(),
    }


# --- what takes gradients, of fewer rows --------------------------------------------------------------
def _annealed(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    """Evidence by annealing, beside what importance weighting says of the same rows."""
    few = some(rows, _ANNEALED)
    found = _over_rows(pv.ais(pair, *few, chains=CHAINS, steps=STEPS).lower.value)
    importance = pv.log_evidence(pair, *few, draws=draws).value.mean()
    return {**found, "rows": len(few[0]), "importance": float(importance), "bracket": _bracket(pair, few)}


def _bracket(pair: Any, rows: Rows) -> float | None:
    """How far apart the two ends are on data whose latent values are known; None where those cannot be made."""
    drawn = pv.generate(pair, *rows, seed=0)
    made = [drawn[site] for site in structure_of(pair, tuple(one[:2] for one in rows)).named("observed")]
    if len(made) != 1 or made[0].shape != rows[0].shape:
        return None
    both = pv.ais(pair, made[0], *rows[1:], reverse=drawn, chains=CHAINS, steps=STEPS)
    return None if both.upper is None else float((both.upper.value - both.lower.value).mean())


def _gap(pair: Any, rows: Rows, draws: int) -> dict[str, Any]:
    found = pv.inference_gap(pair, *some(rows, _ANNEALED), draws=draws)
    return {name: _over_rows(getattr(found, name).value) for name in ("approximation", "amortisation")}


_CLOSE: Mapping[str, Callable[[Any, Rows, int], dict[str, Any]]] = {
    "log_evidence": _evidence,
    "weights": _weights,
    "mutual_information": _information,
    "coverage": _coverage,
    "resemblance": _resemblance,
}


# Numbers of tokens have no order: no interval of them, and no distance between them.
_OF_LINES: Mapping[str, Callable[[Any, Rows, int], dict[str, Any]]] = {
    "log_evidence": _evidence,
    "weights": _weights,
    "mutual_information": _information,
    "perplexity": _perplexity,
}


_THOROUGH: Mapping[str, Callable[[Any, Rows, int], dict[str, Any]]] = {
    "annealed_evidence": _annealed,
    "gap_of_the_guide": _gap,
}
