"""What a pair consists of on the first rows of its data, or why it does not run on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrovae.checks.exceptions import lacks_to_event, without_shapes
from pyrovae.data.batch_sources import Batch
from pyrovae.data.inspection import nonfinite_words
from pyrovae.errors import PairError, PyrovaeError
from pyrovae.pairs.improper import no_draws_words
from pyrovae.pairs.masked import takes_holes
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.pairs.summed_alone import summed_alone
from pyrovae.pairs.surplus_labels import surplus_labels
from pyrovae.sampling.fitting_rows import fitting_rows
from pyrovae.sampling.programs import WholePlate, plates_noted


def first_look(pair: HasPair, batch: Batch, data_plate: str | None) -> Structure:
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
        found, beside = "" if takes_holes(pair) else holes_in(batch.leaves), surplus_labels(pair.model, batch.args)
        if why := "" if found else no_draws_words(error) or summed_alone(pair, batch.args, batch.kwargs):
            raise PairError(f"the pair stops on these data with {first_line(error)}. {why}") from error
        if mismatch := lacks_to_event(error):
            raise PairError(f"the pair does not run on these data: {mismatch}") from error
        if own := None if found else fitting_rows(pair, batch.args, batch.kwargs, error, data_plate):
            raise PairError(f"{own.refusal(batch.rows)}.") from error
        raise PairError(
            f"the pair does not run on these data: {found}. It stopped with {first_line(error)}"
            if found
            else f"the pair does not run on these data (its first rows have shapes {shapes}): "
            f"{type(error).__name__}: {without_shapes(error)}{beside and '.'}{beside}"
        ) from error


def holes_in(leaves: Mapping[int | str, Any]) -> str:
    """In words, which of the data are missing or infinite."""
    return "; ".join(words for name, leaf in leaves.items() if (words := nonfinite_words(leaf, name)))


def first_line(error: Exception) -> str:
    """An exception in one line, without a full stop."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first.rstrip('.')}"
