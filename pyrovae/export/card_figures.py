"""What a pair comes to on data, for those who have not trained it: evidence, calibration, false alarms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import DataError, PyrovaeError
from pyrovae.evaluation.evidence import log_evidence, psis
from pyrovae.evaluation.rate_distortion import rate_distortion
from pyrovae.pairs.trace import with_rows
from pyrovae.trust.calibration import calibration
from pyrovae.trust.novelty import novelty

LEVELS = (0.5, 0.8, 0.9, 0.95)

ALPHA = 0.05  # the rate of false alarms that the novelty score is asked for

RELIABLE = 0.7  # below this k-hat, importance weights can be trusted

_FEWEST_ROWS = 40  # of which one half can tell a rate of 0.05 from the other


class CardFigures(NamedTuple):
    """Figures by name, each as plain values, and for those that are missing the reason."""

    figures: dict[str, Any]
    left_out: dict[str, str]


def card_figures(pair: Any, batch: Batch, *, draws: int, seed: int | None, data_plate: str | None) -> CardFigures:
    """Every figure that applies to a pair, measured on rows that it is given."""
    asked = _Asked(pair, batch, {"seed": seed, "data_plate": data_plate}, draws)
    found, missing = {}, {}
    for name, figure in _FIGURES.items():
        try:
            found[name] = finite(figure(asked))
        except (PyrovaeError, NotImplementedError) as error:
            missing[name] = str(error)  # the card says why a figure is not there
    return CardFigures(found, missing)


class _Asked(NamedTuple):
    pair: Any
    batch: Batch
    options: Mapping[str, Any]
    draws: int

    def of(self, function: Callable[..., Any], **more: Any) -> Any:
        return function(self.pair, *self.batch.args, **self.batch.kwargs, **self.options, **more)


def finite(value: Any) -> Any:
    """The same with None where JSON has no number."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _bound(asked: _Asked) -> dict[str, Any]:
    # The error is that of the batches' means, so there should be a few of them.
    found = asked.of(rate_distortion, draws=10, batch_size=max(1, asked.batch.rows // 16))
    return {name: float(value) for name, value in found._asdict().items() if isinstance(value, int | float)}


def _evidence(asked: _Asked) -> dict[str, Any]:
    value = asked.of(log_evidence, draws=asked.draws).value.double()
    spread = float(value.std() / math.sqrt(len(value))) if len(value) > 1 else math.nan
    return {"value": float(value.mean()), "error": spread, "draws": asked.draws}


def _weights(asked: _Asked) -> dict[str, Any]:
    found = asked.of(psis, draws=asked.draws)
    return {"reliable_share": float((found.khat < RELIABLE).double().mean())}


def _coverage(asked: _Asked) -> dict[str, Any]:
    return {
        site: {
            "levels": list(LEVELS),
            "shares": one.coverage.tolist(),
            "errors": one.error.tolist(),
            "verdict": one.verdict,
        }
        for site, one in asked.of(calibration, draws=asked.draws, levels=LEVELS).items()
    }


def _false_alarms(asked: _Asked) -> dict[str, Any]:
    """How many rows are flagged as novel that are of the usual kind: one half is held against the other."""
    batch = asked.batch
    if batch.rows < _FEWEST_ROWS:
        raise DataError(
            f"{batch.rows} rows are too few to hold one half against the other; give {_FEWEST_ROWS} at least."
        )
    half = batch.rows // 2
    # Halves at random: rows may come in an order that means something.
    order = torch.randperm(batch.rows, generator=torch.Generator().manual_seed(0))
    usual, new = _picked(batch, order[:half]), _picked(batch, order[half:])
    known = usual.kwargs or usual.args
    found = asked._replace(batch=new).of(novelty, calibration=known, draws=min(asked.draws, 50))
    flagged = found.flagged(ALPHA).double()
    # The half that is held against is chance, too.
    error = math.sqrt(ALPHA * (1 - ALPHA) * (1 / len(flagged) + 1 / (half + 2)))
    return {"asked": ALPHA, "rate": float(flagged.mean()), "error": error, "rows": len(flagged)}


def _picked(batch: Batch, places: torch.Tensor) -> Batch:
    args, kwargs = with_rows(batch.args, batch.kwargs, batch.rows)
    return Batch(tuple(leaf[places] for leaf in args), {name: leaf[places] for name, leaf in kwargs.items()})


_FIGURES: Mapping[str, Callable[[_Asked], dict[str, Any]]] = {
    "bound": _bound,
    "log_evidence": _evidence,
    "weights": _weights,
    "coverage": _coverage,
    "false_alarms": _false_alarms,
}
