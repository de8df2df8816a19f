"""One run of guide and model that holds several draws, read in one form: `(draws, *plates, *event)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.trace_struct import Trace

from pyrovae.checks.supports import elements_outside, outside_words
from pyrovae.checks.values import uncomputable_words
from pyrovae.errors import DataError, PairError, PyrovaeError
from pyrovae.objectives.figures import untempered
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.points import own_log_prob
from pyrovae.pairs.resting_transforms import resting_transforms
from pyrovae.pairs.subsample_scale import subsample_scale
from pyrovae.pairs.trace import Traces, samples
from pyrovae.sampling.layout import Layout, Place, comes_and_goes

_NOTED = "pyrovae_log_prob"

Fold = Callable[[torch.Tensor, Place, int], torch.Tensor]


class Run(NamedTuple):
    """The traces of some draws, by whatever route they were made."""

    traces: Traces
    draws: int
    fold: Fold
    layout: Layout
    data_plate: str | None
    guide_fold: Fold | None = None  # where guide and model were run by different routes
    start: int = 0  # which row of the data is the first one here

    def node(self, name: str, side: str = "model") -> Mapping[str, Any]:
        """What a trace holds of a site."""
        trace = getattr(self.traces, side)
        if name not in trace:
            raise comes_and_goes(name)
        return trace.nodes[name]

    def names(self, side: str = "model") -> Iterator[str]:
        """The sites of one side."""
        return (name for name, _ in samples(getattr(self.traces, side)))

    def value(self, name: str, side: str = "model") -> torch.Tensor:
        """A site's value, (draws, *plates, *event)."""
        return self._folded(self.node(name, side)["value"], self.layout.place((side, name)), side)

    def of(self, name: str, function: Callable[[Any], torch.Tensor], *, side: str = "model", extra: int = 0) -> Any:
        """What a function says of a site's distribution, (draws, *plates, *event, *extra).

        Args:
            name: the site.
            function: takes the distribution, and returns a tensor of its batch and event shape.
            side: "model" or "guide".
            extra: how many dims the result has behind those: one for the probabilities of a categorical.
        """
        fn = self.node(name, side)["fn"]
        with resting_transforms(fn):
            result = function(fn)
        place = self.layout.place((side, name), batch=True)
        behind = len(fn.event_shape) + extra
        shape = (*fn.batch_shape, *result.shape[result.ndim - behind :])
        axis = None if place.axis is None else place.axis - behind
        return self._folded(result.expand(shape), Place(place.ndim + behind, axis), side)

    def log_prob(self, name: str, side: str = "model") -> torch.Tensor:
        """A site's log-probability (draws, *plates), masked, scaled by subsampled plates but that of the data alone."""
        node = self.node(name, side)
        fn, value = node["fn"], node["value"]
        try:
            with resting_transforms(fn):
                log_prob = _of_guide(node) if side == "guide" else fn.log_prob(value)
        except (PyrovaeError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, TypeError, NotImplementedError, KeyError) as error:
            self._check_support(name, side, node, error)
            raise PairError(uncomputable_words(name, side, node, error)) from error
        scale, mask = subsample_scale(node, without=self.data_plate), untempered(node)[1]
        log_prob = scale_and_mask(log_prob, scale, mask)
        log_prob = torch.as_tensor(log_prob)
        if log_prob.ndim > len(fn.batch_shape):
            raise PairError(_more_dims_words(name, side, node))
        log_prob = log_prob.expand(fn.batch_shape)
        return self._folded(log_prob, self.layout.place((side, name), batch=True), side)

    def _check_support(self, name: str, side: str, node: Mapping[str, Any], error: Exception) -> None:
        """Say of data outside a support which they are; the rows of a run may stand anywhere in its values."""
        fn, value = node["fn"], node["value"]
        outside = elements_outside(fn, value, node["mask"]) if node["is_observed"] and side == "model" else None
        if outside is None or not bool(outside.any()):
            return
        place = self.layout.place((side, name), batch=True)
        events, shape = len(fn.event_shape), fn.batch_shape + fn.event_shape
        wide = Place(place.ndim + events, None if place.axis is None else place.axis - events)
        parts = [self._folded(one.expand(shape), wide, side) for one in (outside, value)]
        if wide.axis is not None:
            parts = [part.movedim(wide.axis, 1) for part in parts]
        draw = int(parts[0].flatten(1).any(1).nonzero()[0])
        found, values = (part[draw] if part.ndim > 1 else part[draw : draw + 1] for part in parts)
        words = outside_words(name, fn, values, found, rows=found.reshape(len(found), -1).any(1), start=self.start)
        raise DataError(words) from error

    def _folded(self, tensor: torch.Tensor, place: Place, side: str) -> torch.Tensor:
        fold = self.guide_fold if side == "guide" and self.guide_fold is not None else self.fold
        return fold(tensor, place, self.draws)

    def per_datum(self, name: str, side: str = "model") -> torch.Tensor:
        """The log-probability of a site for each draw and datum, (draws, rows); (draws,) where it is global."""
        return summed(self.log_prob(name, side), self.layout.place((side, name), batch=True))


def note_own_densities(guide: Trace) -> None:
    """Note log q of what flows drew: one without an inverse knows it of its last draw alone."""
    for _, node in samples(guide):
        if getattr(base_of(node["fn"]), "transforms", ()):
            with suppress(KeyError), resting_transforms(node["fn"]):  # of a value that was given, it knows none
                node[_NOTED] = own_log_prob(node["fn"], node["value"])  # type: ignore[literal-required] - a key of our own


def _of_guide(node: Mapping[str, Any]) -> torch.Tensor:
    noted = node.get(_NOTED)
    return own_log_prob(node["fn"], node["value"]) if noted is None else noted


def _more_dims_words(name: str, side: str, node: Mapping[str, Any]) -> str:
    stands = ", ".join(repr(frame.name) for frame in node["cond_indep_stack"]) or "none"
    return (
        f"{name!r} in the {side} has values of shape {tuple(node['value'].shape)} where its distribution and its "
        f"plates ({stands}) have a batch of shape {tuple(node['fn'].batch_shape)}: the other side draws it in a plate "
        "more. Use plates of the same name, dim and size on both sides."
    )


def on_rows(rows: range, runs: Iterable[Run]) -> list[Run]:
    """Runs that know which rows of the data theirs are, to name them."""
    return [run._replace(start=rows.start) for run in runs]


def plate_scale(node: Mapping[str, Any], data_plate: str | None) -> float:
    """By how much the data plate's subsample scales a site."""
    scale = 1.0
    for frame in node["cond_indep_stack"]:
        if frame.name == data_plate and frame.size > 0 and frame.full_size:
            scale *= float(frame.full_size) / float(frame.size)
    return scale


def summed(folded: torch.Tensor, place: Place) -> torch.Tensor:
    """(draws, ...) summed over all but draws and rows."""
    if place.axis is None:
        return folded.reshape(len(folded), -1).sum(1)
    folded = folded.movedim(place.axis, 1)
    return folded.reshape(*folded.shape[:2], -1).sum(2)
