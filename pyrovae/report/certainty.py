"""What a report shows of trust: how sure the pair is of each row, what is novel to it, whether its intervals hold."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

import pyrovae as pv
from pyrovae.errors import DataError
from pyrovae.report.report_data import ReportData, chosen_rows
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.uncertainty_grid import grid_size, grid_spread

ALPHA = 0.05  # the rate of false alarms at which a novel row is flagged

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

_DRAWS, _PREDICTED = 50, 200

_FEWEST = 40  # half of them calibrate, and a p-value of 5 % needs 19


class Certainty(NamedTuple):
    """How uncertain the prediction of each row is.

    Attributes:
        rows: their places.
        nats: one number for each, (rows,): see `Uncertainty.nats`.
        elements: of each value, (rows, *event): standard deviations, or entropies where there are classes.
        measure: "variance" or "entropy".
        shares: of noise, latent and global sites in the uncertainty of a value, on average; None where the pair has no
            global sites, so that nothing says how unsure its weights are.
    """

    rows: np.ndarray
    nats: np.ndarray
    elements: np.ndarray
    measure: str
    shares: tuple[float, float, float | None]


class NoveltyExamples(NamedTuple):
    """Held-out rows, and some altered until they are no such data, with scores and p-values of novelty.

    Attributes:
        altered: the altered rows, as the pair takes them.
        names: what was done to each.
        held_out: places of the held-out rows.
        p_value: of the held-out rows, then of the altered ones.
        score: -log p(x) of the same.
        usual: the scores of the rows that calibrate.
    """

    altered: torch.Tensor
    names: list[str]
    held_out: np.ndarray
    p_value: np.ndarray
    score: np.ndarray
    usual: np.ndarray


def certainty_of(about: ReportData, count: int | None = None) -> Certainty:
    """How sure the pair is of some rows; of the first `count`, or of as many as take seconds."""
    places = chosen_rows(about.rows) if count is None else torch.arange(min(count, len(about.rows)))
    site = about.observed()
    few = about.at(places)
    sampler = Sampler.of(about.pair, few.args, few.named, seed=about.seed)
    shared, inner = grid_size(sampler, _DRAWS)
    found = grid_spread(sampler, [site], shared, inner, "auto").get(site)
    if found is None:
        raise DataError(f"{site!r} has no mean and variance.")
    one = found.summary()
    if one.nats.shape != (len(places),):
        raise DataError(f"{site!r} belongs to no single row.")
    elements = one.total.sqrt() if one.measure == "variance" else one.total
    nats, elements = one.nats.double().numpy(), elements.double().numpy()
    return Certainty(places.numpy(), nats, elements, one.measure, _shares(one))


def _shares(found: pv.Uncertainty) -> tuple[float, float, float | None]:
    uncertain = found.total > 0
    noise, latent, shared = (
        float((part[uncertain].double() / found.total[uncertain].double()).mean())
        for part in (found.aleatoric, found.latent, found.epistemic)
    )
    return noise, latent, None if np.isnan(shared) else shared


def novelty_of(about: ReportData, *, images: bool) -> NoveltyExamples:
    """Half of the rows, and some altered ones, against the other half."""
    places = chosen_rows(about.rows)
    usual, held_out = about.at(places[::2]), places[1::2]
    if len(places) < _FEWEST:
        raise DataError(f"{len(places)} rows are too few to tell what is usual; {_FEWEST} would do.")
    names, altered = zip(*(_altered_image if images else _altered_row)(about.rows[places]), strict=True)
    # What is altered keeps the covariates of the first row.
    with_altered = torch.cat([held_out, places[:1].expand(len(altered))])
    new = about.at(with_altered, torch.cat([about.rows[held_out], torch.stack(altered)]))
    ordinary_rows = usual.named or usual.args
    found = pv.novelty(about.pair, *new.args, calibration=ordinary_rows, draws=_DRAWS, seed=about.seed, **new.named)
    assert found.evidence is not None
    p_value, score, ordinary = found.combined.p_value, found.evidence.score, found.evidence.usual
    figures = (figure.numpy() for figure in (held_out, p_value, score, ordinary))
    return NoveltyExamples(torch.stack(altered), list(names), *figures)


def _altered_image(rows: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    low, high = rows.min().item(), rows.max().item()
    # The one that differs most from itself upside down: a zero would be a zero still.
    one = rows[(rows.double() - rows.flip(-2).double()).abs().flatten(1).sum(1).argmax()]
    pixels = torch.randperm(rows.shape[-1] * rows.shape[-2], generator=torch.Generator().manual_seed(0))
    return [
        ("inverted", (low + high - one.double()).to(one.dtype)),
        ("scrambled", one.flatten(-2)[..., pixels].reshape(one.shape)),
        ("upside down", one.flip(-2)),
    ]


def _altered_row(rows: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    flat = rows.reshape(len(rows), -1)
    others = torch.randint(len(flat), (flat.shape[1],), generator=torch.Generator().manual_seed(0))
    mixed = flat[others, torch.arange(flat.shape[1])]
    there = flat.nan_to_num(-math.inf) if flat.is_floating_point() else flat  # what is missing is not the largest
    largest = torch.where(there.amax(0) == -math.inf, flat[0], there.amax(0))
    return [
        ("each value from another row", mixed.reshape(rows.shape[1:])),
        ("every value at its largest", largest.reshape(rows.shape[1:])),
    ]


def calibration_of(about: ReportData) -> pv.Calibration:
    """Whether intervals of the observed site hold what they promise."""
    few = about.at(chosen_rows(about.rows))
    found = pv.calibration(about.pair, *few.args, draws=_PREDICTED, levels=LEVELS, seed=about.seed, **few.named)
    return found[about.observed()]
