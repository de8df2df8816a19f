"""The data of a training in batches that its pair can take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches, as_batches
from pyrovae.data.grouped_order import row_lengths
from pyrovae.data.placement import Placement, find_placement, seen_on
from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.own_rows import OwnRows, own_rows, remembered_rows
from pyrovae.pairs.pair import HasPair, unwrapped
from pyrovae.pairs.structure import Structure, inspect


class Chosen(NamedTuple):
    """The batches, and how the pair takes the first of them."""

    batches: Batches
    placement: Placement


class Cut(NamedTuple):
    """How the batches of a training were asked for; see `fit`.

    Attributes:
        batch_size: how many rows a batch has.
        transform: of each batch.
        row_weights: how often each row is met.
        held_out: whether the training looks at rows that it does not train on.
        device: where the pair takes them.
        data_plate: the plate that holds their rows.
        seed: of the order.
        processes: how many train together.
    """

    batch_size: int | None
    transform: Callable[..., Any] | None
    row_weights: Any
    held_out: bool
    device: str | torch.device
    data_plate: str | None
    seed: int
    processes: int


def choose_batches(pair: HasPair, data: Any, cut: Cut) -> Chosen:
    """Cut the data into batches; those of a pair that holds something for each row are one batch, in their order.

    Args:
        pair: the pair.
        data: the training data.
        cut: how they were asked for.

    Raises:
        PairError: the pair holds for other rows than these.
        ArgumentError: an argument that would bring rows together with what belongs to others.
    """
    batches = as_batches(
        data, batch_size=cut.batch_size, transform=cut.transform, seed=cut.seed, weights=cut.row_weights
    )
    placement, structure = seen_on(pair, batches.first(), cut.device, cut.data_plate)
    own = _own(pair, batches, cut, placement.place(batches.first()), structure)
    if own is None:
        batches.lengths = row_lengths(unwrapped(pair), batches)
        return Chosen(batches, placement)
    if own.count != batches.rows and (own.subsampled or batches.batches_per_epoch == 1 or own.remembered):
        raise PairError(f"{own.refusal(batches.rows)}.")
    _check(own, batches, cut)
    if own.subsampled or batches.batches_per_epoch == 1:
        return Chosen(batches, placement)
    whole = as_batches(data, batch_size=batches.rows, transform=cut.transform, seed=cut.seed)
    return Chosen(whole, find_placement(pair, whole.first(), cut.device))


def _check(own: OwnRows, batches: Batches, cut: Cut) -> None:
    if cut.held_out:
        raise ArgumentError(
            f"{argument('validation')}: the pair has {own.words}, so that there is nothing in it for other rows than "
            "those of the training; leave it out."
        )
    if cut.row_weights is not None:
        raise ArgumentError(
            f"{argument('row_weights')}: the pair has {own.words}, so that each row is met once in each pass; leave "
            "it out."
        )
    if cut.processes > 1:
        raise ArgumentError(f"the pair has {own.words}, which processes cannot share; train in one process.")
    if not batches.random_access:
        raise ArgumentError(f"the pair has {own.words}; give its rows as arrays, which keep their order.")
    if batches.batches_per_epoch != 1 and cut.batch_size is not None and not own.subsampled:
        raise ArgumentError(
            f"{argument('batch_size', cut.batch_size)}: the pair has {own.words}, which would meet other rows in "
            f"each batch. Leave it out, so that all {batches.rows:,} rows are one batch, or let the pair draw its rows "
            f"in its own plate: pyro.plate(name, {batches.rows}, subsample_size={cut.batch_size})."
        )


def _own(pair: HasPair, batches: Batches, cut: Cut, batch: Batch, structure: Structure | None) -> OwnRows | None:
    found = remembered_rows(pair, batch.args, batch.kwargs, structure)
    if found is not None:
        return found
    try:
        structure = structure or inspect(pair, batch.args, batch.kwargs, data_plate=cut.data_plate)
    except Exception as error:
        # The author's code stops on a part of his rows in any way it likes.
        whole = _whole(pair, batches, batch, cut)
        if whole is None and cut.data_plate and isinstance(error, ArgumentError):
            raise  # it is no plate of the rows
        return whole
    try:
        return own_rows(pair, batch.args, batch.kwargs, structure.data_plate)
    except PairError:
        return _whole(pair, batches, batch, cut)


def _whole(pair: HasPair, batches: Batches, batch: Batch, cut: Cut) -> OwnRows | None:
    """Whether a pair that does not run on a batch runs on all rows; if not, the checks say why."""
    rows = batches.rows
    if not batches.random_access or rows is None or batches.batches_per_epoch == 1:
        return None
    try:
        whole = find_placement(pair, batch, cut.device).place(batches.first(rows))
        inspect(pair, whole.args, whole.kwargs, data_plate=cut.data_plate)
    except Exception:
        return None  # it does not run at all; check_pair, which comes next, says why
    return OwnRows(rows, f"something for each of {rows:,} rows, and does not run on {batch.rows} of them")
