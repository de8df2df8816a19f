"""Draws of what is missing in data, given what is there."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.data.holed_rows import split, taking_holes
from pyrovae.data.rows_of_frames import frames_among
from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.evaluation.per_datum import check_each_datum, sampler_of
from pyrovae.evaluation.unreliable_weights import TRUSTED, stand_badly, tell_of_unreliable_weights
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.prediction.framed import framed_site
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import arguments
from pyrovae.tables.check_columns import check_columns
from pyrovae.tables.imputed import Imputed, ImputedFrame
from pyrovae.tables.missing_cells import marked, mask_of_rows
from pyrovae.trust.completed_rows import completed_rows

_DRAWS = 100  # means of so many are off by a tenth of the spread of what is missing
_CANDIDATES = 5  # for each draw that is asked for where weights are over all of them
_FIT = 30  # weights of which a tail can be fitted by both generations of ArviZ
_FEW = 10  # candidates of a row that count, below which its draws repeat each other
_FEWEST = 500  # of 200, 20 draws covered 86 per cent where those of 400 covered 87 (diabetes, 30 % hidden)


@in_turn
def impute(
    pair: HasPair,
    /,
    *data: Any,
    mask: Any = None,
    draws: int | None = None,
    candidates: int | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Any:
    r"""Draw what is missing from its distribution given what is there.

    Missing is what is NaN, and what a mask of the pair's own hides. The guide's draws of the latents are resampled
    by their importance weights for the observed part o of each row, so that its being trained on full rows, or on
    something in the place of holes, shows in `khat` and not in the draws:

    \[ x_h \sim p(x_h \mid z, x_o), \qquad z \sim \sum_k \tilde w_k\, \delta_{z_k}, \qquad
    w_k = \frac{p(x_o, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x) \]

    with Pareto-smoothed weights, each candidate as often as its weight says, but for less than one (systematic
    resampling). Sites that all data share are drawn from the guide, anew for each draw. Rows of which nothing is there
    are drawn from the model alone, and no guide enters.

    Rows are drawn many at a time, from one stream of random numbers: with the same seed the same table gives the same
    draws, and a row that is given beside other rows, or alone, has others of the same distribution.

    Args:
        pair: any pair; one that `masked` has not made is put into it, with the means of the columns for its guide.
        *data: the arguments of model and guide, N rows, with NaN for what is missing.
        mask: what is there, where it is not NaN that says so: True for observed cells, of the shape of the data, or by
            argument name. Of a frame a frame, such as `frame.notna()`.
        draws: of each row: multiple imputations. Left out, 100, and of a frame one filled frame of so many.
        candidates: draws of the latents that are weighed: left out, 5 for each draw, and 500 at least. Where the pair
            has sites that all data share, for each of these.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `Imputed`, by observed site; `.frames()` gives a completed frame for each draw. Of a frame without `draws` a
        frame like it: in each hole the mean of the draws of numbers (real, proportion, date), their median where the
        mean hangs on few of them (heavy, positive, counts, ordinal), or the most frequent class. Where the pair
        observes other things beside the table, an `Imputed`, too.

    Raises:
        PairError: a joint event is observed in part and its marginal is not known, or the model reads what is missing.

    References:
        Kitagawa, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models" (1996), for the
        resampling.
        Mattei and Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data sets" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> x = torch.randn(8, 5)
        >>> x[0, 2] = float("nan")
        >>> found = pv.impute(vae, x, draws=10)
        >>> found.values["x"].shape, int(found.missing["x"].sum())
        (torch.Size([10, 8, 5]), 1)
    """
    frames = frames_among(named or (data[0] if len(data) == 1 and isinstance(data[0], dict) else data))
    asked = check_count("draws", _DRAWS if draws is None else draws)
    count = max(_CANDIDATES * asked, _FEWEST) if candidates is None else check_count("candidates", candidates)
    if count < _FIT:
        raise ArgumentError(
            f"{argument('candidates', candidates)}: of fewer than {_FIT} weights nothing shows that they are bad."
        )
    if frames and (schema := schema_of(pair)) is not None:
        check_columns(schema, "impute")
    given, mask = arguments(pair, data, named), mask_of_rows(pair, frames, mask)
    rows = {key: given[key] for key in frames}
    sampler = _sampler(pair, marked(given, mask), seed, data_plate)
    framing = next((_framing(sampler, key, frame, rows[key]) for key, frame in frames.items()), None)
    found = _imputed(sampler, asked, count)._replace(table=framing)
    _tell(found)
    return found.filled() if framing is not None and draws is None and len(found.values) == 1 else found


def imputations(
    pair: HasPair, given: Any, draws: int, candidates: int, seed: int | None, data_plate: str | None = None
) -> Imputed:
    """What `impute` draws, with no word on whether it can be trusted."""
    return _imputed(_sampler(pair, given, seed, data_plate), draws, candidates)


def _sampler(pair: HasPair, given: Any, seed: int | None, data_plate: str | None) -> Sampler:
    sampler = sampler_of(taking_holes(pair, given), *split(given), seed, data_plate)
    check_each_datum(sampler)
    return sampler


def _imputed(sampler: Sampler, draws: int, candidates: int) -> Imputed:
    return Imputed(*completed_rows(sampler, draws, candidates))


def _framing(sampler: Sampler, key: int | str, frame: Any, rows: torch.Tensor) -> ImputedFrame:
    """Where the frame's rows are observed."""
    schema, site = schema_of(sampler.use.pair), framed_site(sampler, key)
    if schema is None or site is None:
        raise PairError(
            "no one observed site of the pair is the rows of the schema, (rows, columns), so that nothing says which "
            "draws belong into the frame. Impute the rows themselves: pv.impute(pair, schema.encode(frame))."
        )
    return ImputedFrame(site, schema, rows, frame)


def _tell(found: Imputed) -> None:
    """Say where draws cannot be trusted."""
    holed = torch.stack([holes.reshape(len(holes), -1).any(1) for holes in found.missing.values()]).any(0)
    few = holed & (found.ess < _FEW)
    if few.any() or stand_badly(found.khat[holed]):
        bad = few | holed & (found.khat > TRUSTED)
        tell_of_unreliable_weights(
            f"{int(bad.sum())} of {int(holed.sum())} rows with holes",
            f"khat above {TRUSTED:g}, or fewer than {_FEW} candidates that count: down to "
            f"{float(found.ess[bad].min()):.3g}",
            "their imputations are too narrow. Train on data with holes, or give more candidates "
            f"({argument('candidates')}).",
        )
