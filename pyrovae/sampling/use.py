"""A pair as it stands, and data to run it on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader

from pyrovae.checks.exceptions import clause_of
from pyrovae.checks.supports import not_finite, outside_support
from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.data.data_units import in_other_units
from pyrovae.data.lines_of_text import as_lines
from pyrovae.data.placement import Placement
from pyrovae.data.rows_of_frames import rows_of_frames
from pyrovae.data.source_of import reads_several
from pyrovae.errors import ArgumentError, DataError, PairError, PyrovaeError, warn_user
from pyrovae.pairs.by_row import ByRow, Moving, moved_rows, moving_with_others
from pyrovae.pairs.improper import no_draws_words
from pyrovae.pairs.lawful_values import given_value
from pyrovae.pairs.looks.isolation import forked_random, isolated
from pyrovae.pairs.masked import takes_holes
from pyrovae.pairs.pair import HasPair, for_figures
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, run, samples
from pyrovae.sampling.first_look import UncutError, first_line, first_look, hole_words, of_a_distribution
from pyrovae.sampling.programs import WholePlate, run_once

_TOLD = ("dtype", "device", "support")  # clauses whose words leave no doubt about the cause
_FEW_ROWS = 8  # on which one row is seen to move with others


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Use:
    """A pair, data, and how the pair takes them.

    Attributes:
        gradients: whether what is run keeps the way back to its data.
    """

    gradients = False

    def __init__(self, pair: HasPair, batches: Batches, placement: Placement, structure: Structure):
        self.pair, self.batches, self.placement, self.structure = pair, batches, placement, structure

    @classmethod
    def of(cls, pair: HasPair, batches: Batches, *, data_plate: str | None = None, ordered: bool = True) -> Use:
        """Look at the pair on the first rows.

        Raises:
            PairError: the pair does not run on these data, or has rows of its own and these are others.
            UncutError: it takes its rows all at once or not at all.
        """
        pair = for_figures(pair)
        return cls(pair, batches, *first_look(pair, batches, data_plate, ordered=ordered))

    @contextmanager
    def quietly(self, seed: int | None = 0) -> Iterator[None]:
        """Eval mode, no gradients unless they are asked for, isolated random numbers and store."""
        with (
            self.blaming_holes(),
            isolated(seed),
            torch.inference_mode(False),
            torch.set_grad_enabled(self.gradients),
            _without_warnings(),
        ):
            if self.structure.sets_up:
                self._set_up()
            yield

    def on(self, batches: Batches, *, gradients: bool = False) -> Use:
        """The same pair on other values of the same rows, without another look at it."""
        twin = copy(self)
        twin.batches, twin.gradients = batches, gradients
        twin.__dict__.pop("posterior_run", None)
        return twin

    def _set_up(self) -> None:
        """What notes sizes at its first call is first given the whole first batch, as in a training."""
        batch = self.placement.place(self.batches.first())
        with forked_random():
            run(self.pair, batch.args, batch.kwargs)

    @contextmanager
    def blaming_holes(self) -> Iterator[None]:
        """Where the pair stops, say so; on data with holes, which a mask may have been meant for, where they are."""
        try:
            yield
        except (PyrovaeError, UncutError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            found = "" if takes_holes(self.pair) else hole_words(self.batches.leaves())
            if found:
                raise DataError(f"{found}. The pair stopped there: {first_line(error)}") from error
            if not (isinstance(error, NotImplementedError | ValueError | RuntimeError) or of_a_distribution(error)):
                raise
            clause, mend = clause_of(str(error))
            if clause == "support" and (words := self.outside_words()):
                raise DataError(words) from error
            why = (
                no_draws_words(error)
                or (mend if clause in _TOLD else "")
                or (
                    "A distribution that cannot be drawn from, or code that takes draws of one shape only, allows no "
                    "figure that needs more: write x @ w as (x * w).sum(-1), say, where w may have draws in front."
                )
            )
            raise PairError(
                f"the pair runs on its data, but not as it is asked to here: {first_line(error)}. {why}"
            ) from error

    def outside_words(self) -> str | None:
        """In words, which observed values their distributions give no finite density; None where there are none."""
        whole, start = WholePlate(self.pair, self.structure.data_plate, follows=False), 0
        with isolated(0), torch.no_grad(), _without_warnings():
            for batch in self.placed_batches():
                whole.turn_to(batch)
                for name, node in samples(run(whole, batch.args, batch.kwargs).model):
                    value = given_value(node)
                    if not node["is_observed"] or not isinstance(value, torch.Tensor):
                        continue
                    words = outside_support(name, node["fn"], value, node["mask"], start=start)
                    if words := words or not_finite(name, node["fn"], value, node["mask"], start=start):
                        return words
                start += batch.rows
        return None

    def first(self, rows: int | None) -> Batch:
        """The first rows where the pair takes them; None for those of the first batch."""
        return self.placement.place(self.batches.first(rows))

    @cached_property
    def posterior_run(self) -> Traces:
        """One run of guide and model on the first rows."""
        batch, pair = self.first(None), WholePlate(self.pair, self.structure.data_plate, follows=False)
        with self.quietly():
            pair.turn_to(batch)
            return run_once(pair, batch, self.structure, "posterior")

    @cached_property
    def moving_with_others(self) -> Moving:
        """Sides and sites of single rows that move with the rows beside them, seen on a few rows."""
        batch, plate = self.first(None), self.structure.data_plate
        if plate is None or not batch.leaves:
            return Moving([])
        spread = torch.linspace(0, batch.rows - 1, min(batch.rows, _FEW_ROWS)).long()
        args, kwargs = moved_rows(batch.args, batch.kwargs, lambda leaf, axis: leaf[spread.to(leaf.device)])
        whole = WholePlate(self.pair, plate, follows=False)
        with self.quietly():
            try:
                before = ByRow(run(whole, args, kwargs), plate)
            except Exception:
                return Moving([])  # it takes all of its rows or none
            return moving_with_others(whole, args, kwargs, before)

    def tell_of_other_units(self) -> None:
        """Warn of data in another unit than those that the pair was trained on."""
        if words := in_other_units(self.pair, self.batches):
            warn_user(words)

    def tell_of_other_rows(self, *, means: bool = False) -> None:
        """Warn of a pair whose rows move with their company: then so does what it is asked.

        Args:
            means: whether only the means of what is observed do so is of interest, too.
        """
        moving = self.moving_with_others
        found = [name for side, name in moving.found if means or side != "mean"]
        if found and not moving.ordered:
            warn_user(
                f"[reads-other-rows] the distribution of {found[0]!r} in a row moves with the other rows of the batch "
                "(batch statistics, attention over rows, a total that is the largest of all), so that what is asked of "
                "the pair does, too: it is another answer among other rows, or in batches of another size, and none to "
                "compare. Compute what rows share beforehand, and give it as an argument or keep it in a buffer."
            )

    def tell_of_unguided(self) -> None:
        """Warn of sites that the guide leaves to the model: what is asked of the posterior, these do not answer.

        Where nothing is observed, they are what is to be predicted.
        """
        names = self.structure.named("unguided") if self.structure.named("observed") else []
        if names:
            warn_user(
                f"[site-missing-in-guide] {names[0]!r} is drawn by the model alone, so that its draws are the prior's, "
                "given what the guide does draw, and know nothing else of these data. For states to come that is what "
                "is wanted; of others, draw the site in the guide, too (pv.check_pair names all of them)."
            )

    def placed_batches(self, batch_size: int | None = None) -> Iterator[Batch]:
        """The batches, in order, where the pair takes them."""
        for batch in self.batches.in_order(batch_size):
            yield self.placement.place(batch)


def arguments(pair: HasPair, data: tuple, named: Mapping[str, Any]) -> Any:
    """What was given as `*data` and `**named`, as `fit` takes it; one dict, Dataset or DataLoader stands for all.

    Frames are rows in it.
    """
    if named and data:
        raise ArgumentError(
            f"data were given by position and by name ({', '.join(named)}); give all of them in one of the two ways. "
            "A name that this function has no option for is taken for an argument of the model."
        )
    if data and isinstance(data[0], str):
        as_lines(data[0])  # which says what one text lacks; a tuple of such would pass for lines
    alone = len(data) == 1 and (isinstance(data[0], dict | DataLoader) or reads_several(data[0]))
    return rows_of_frames(pair, dict(named) if named else data[0] if alone else data)
