"""What a pair shows on its first rows, before anything is asked of it; and what is refused there."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro.ops.provenance import detach_provenance

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.data.inspection import nonfinite_words
from pyrovae.data.placement import Placement, seen_in_place
from pyrovae.errors import ArgumentError, PairError, PyrovaeError
from pyrovae.pairs.improper import no_draws_words
from pyrovae.pairs.masked import takes_holes
from pyrovae.pairs.own_rows import OwnRows, own_rows, remembered_rows
from pyrovae.pairs.pair import HasPair, check_is_pair
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.pairs.summed_alone import summed_alone
from pyrovae.pairs.surplus_labels import surplus_labels
from pyrovae.sampling.fitting_rows import fitting_rows
from pyrovae.sampling.programs import WholePlate, plates_noted


class UncutError(Exception):
    """The pair takes all of its rows at once, or none."""


def first_look(
    pair: HasPair, batches: Batches, data_plate: str | None, *, ordered: bool
) -> tuple[Placement, Structure]:
    """Where the pair takes its first rows, and what it shows on them.

    Raises:
        PairError: the pair does not run on these data, or has rows of its own and these are others.
        UncutError: it takes its rows all at once or not at all.
    """
    check_is_pair(pair)
    first = batches.first()
    placement, structure = seen_in_place(pair, first, data_plate)
    batch = placement.place(first)
    _check_own(remembered_rows(pair, batch.args, batch.kwargs, structure), batches, batch)
    structure = structure or _look(pair, batch, data_plate)
    if not ordered or _may_hold_rows(structure, batch):
        own = own_rows(pair, batch.args, batch.kwargs, structure.data_plate, data=not ordered)
        _check_own(own, batches, batch)
    _check_plate(structure, data_plate)
    _check_born(structure, lambda: _look(pair, batch, data_plate))
    return placement, structure


def _may_hold_rows(structure: Structure, batch: Batch) -> bool:
    """Whether the pair has parameters that are large enough to hold something for each row, or data of its own."""
    return structure.other_rows or any(
        max(tensor.shape, default=0) >= batch.rows for tensor in structure.parameters.values()
    )


def _check_own(own: OwnRows | None, batches: Batches, batch: Batch) -> None:
    if own is None:
        return
    if own.count != batches.rows:
        raise PairError(f"{own.refusal(batches.rows)}.")
    if not own.subsampled and batch.rows < own.count:
        raise UncutError(f"the pair has {own.words}, and takes all rows at once")


def _look(pair: HasPair, batch: Batch, data_plate: str | None) -> Structure:
    """The pair's structure; where its author wrote another number of rows into a plate, with that plate held open."""
    seen: dict[str, None] = {}
    try:
        with plates_noted(seen):
            return inspect(pair, batch.args, batch.kwargs, data_plate=data_plate)
    except PyrovaeError:
        raise
    except Exception as error:
        for name in (data_plate,) if data_plate else tuple(seen):
            whole = WholePlate(pair, name, follows=False)
            whole.turn_to(batch)
            try:
                return inspect(whole, batch.args, batch.kwargs, data_plate=name)
            except Exception:
                continue  # another plate may be the one
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in batch.leaves.values())
        found, beside = "" if takes_holes(pair) else hole_words(batch.leaves), surplus_labels(pair.model, batch.args)
        if why := "" if found else no_draws_words(error) or summed_alone(pair, batch.args, batch.kwargs):
            raise PairError(f"the pair stops on these data with {first_line(error)}. {why}") from error
        if own := None if found else fitting_rows(pair, batch.args, batch.kwargs, error, data_plate):
            raise PairError(f"{own.refusal(batch.rows)}.") from error
        raise PairError(
            f"the pair does not run on these data: {found}. It stopped with {first_line(error)}"
            if found
            else f"the pair does not run on these data (its first rows have shapes {shapes}): "
            f"{type(error).__name__}: {error}{beside and '.'}{beside}"
        ) from error


def hole_words(leaves: Mapping[int | str, Any]) -> str:
    """Which arguments hold numbers that are not finite, in words; nothing where none does."""
    return "; ".join(words for name, leaf in leaves.items() if (words := nonfinite_words(leaf, name)))


def first_line(error: Exception) -> str:
    """What an error says first, after its kind."""
    first = next(iter(str(error).strip().splitlines()), "").rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def of_a_distribution(error: Exception) -> bool:
    """Whether a distribution raised it: an assertion, say, where it cannot be drawn from."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(last.f_locals.get("self"), torch.distributions.Distribution)


def _check_plate(structure: Structure, data_plate: str | None) -> None:
    """Refuse a plate that is not there: every site would count as one that all rows share."""
    known = dict.fromkeys(plate for site in structure.sites.values() for plate in site.plates)
    if data_plate is not None and data_plate not in known:
        raise ArgumentError(
            f"data_plate={data_plate!r}: no site of the pair stands in a plate of that name; its plates are "
            f"{', '.join(map(repr, known)) or 'none'}."
        )


def _check_born(structure: Structure, again: Callable[[], Structure]) -> None:
    """Refuse a pair whose parameters do not exist yet: each run would start from other ones."""
    stored: Any = pyro.get_param_store()._params
    live = {id(detach_provenance(tensor)) for tensor in stored.values()}
    live |= {id(parameter) for module in structure.modules.values() for parameter in module.parameters()}
    missing = [name for name, parameter in structure.parameters.items() if id(parameter) not in live]
    # A module that a run names but does not call shows only its parameters: what exists is the same tensor again.
    made_anew = again().parameters if missing else {}
    missing = [name for name in missing if made_anew.get(name) is not structure.parameters[name]]
    if missing:
        raise PairError(
            f"the pair has parameters that do not exist yet ({', '.join(map(repr, missing[:3]))}): it was never run. "
            "Train it with pyrovae.fit or a loop of your own, or load its weights with pyrovae.load; to look at its "
            "starting values, call its guide and its model on a batch once."
        )
