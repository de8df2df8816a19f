"""What is wrong with a pair, in words, and how to mend it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pyro.infer.autoguide import AutoGuide
from pyro.poutine.trace_struct import Trace
from torch import nn
from torch.utils.data import DataLoader, Dataset

from pyrovae.checks import parameters, reruns, shapes, sites, values
from pyrovae.checks.exceptions import FailedRun, explain
from pyrovae.checks.finding import Finding
from pyrovae.checks.rounded_counts import rounded_counts
from pyrovae.checks.signatures import argument_names, as_given, check_call
from pyrovae.checks.supports import validates
from pyrovae.checks.traced_pair import (
    TracedPair,
    in_isolation,
    listed,
    log_prob,
    replayed_model,
    traced_until_error,
    with_other_rows,
)
from pyrovae.data.batches import as_batches
from pyrovae.data.blocks.on_disk import as_on_disk
from pyrovae.data.rows_of_frames import rows_of_frames
from pyrovae.errors import ArgumentError, DataError, PairError, PyrovaeError, warn_user
from pyrovae.pairs.claims import claiming
from pyrovae.pairs.data_plate import find_data_plate
from pyrovae.pairs.looks.isolation import validation
from pyrovae.pairs.pair import HasPair, bound_modules
from pyrovae.pairs.structure import roots, structure_of
from pyrovae.pairs.trace import Traces, batch_rows, plates, samples
from pyrovae.pairs.turns import in_turn

_logger = logging.getLogger("pyrovae")


@in_turn
def check_pair(
    pair: HasPair, *batch: Any, dataset_size: int | None = None, data_plate: str | None = None, **named: Any
) -> tuple[Finding, ...]:
    """Run model and guide on one batch and say in words what is wrong, and how to mend it.

    Random numbers, parameter store and modules are as before when it returns. A model that is meant to read
    what it observes (a library size, an autoregressive decoder) says so: `model.reads_observed = True`, or an
    attribute of that name on the pair or its class.

    Args:
        pair: any pair.
        *batch: the arguments of model and guide, a few rows of each; arrays are converted as `fit` does it. Of a
            `Dataset`, a `DataLoader` or data on disk the first batch is taken.
        dataset_size: the number of rows of the whole data set; left out, the batch is taken to be all of it.
        data_plate: the plate that holds the data, where several plates follow the length of the batch.
        **named: keyword arguments of model and guide.

    Returns:
        What is probably wrong; each is also issued as a `PyrovaeWarning`.

    Raises:
        PairError: at least one finding is an error; the message holds all of them.
        DataError: the only errors are of the data.
        ArgumentError: `data_plate` is no plate of the pair, or is left out where several plates could be meant.

    Examples:
        >>> import pyro, pyro.distributions as dist, pyrovae as pv, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0, 1))
        ...         pyro.sample("x", dist.Normal(z, 1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("zz", dist.Normal(x / 2, 0.7))
        >>> pv.check_pair(pv.Pair(model, guide), torch.zeros(8))
        Traceback (most recent call last):
            ...
        pyrovae.errors.PairError: ...the model draws 'z', which the guide does not...
    """
    args, kwargs, rows = first_batch(pair, batch, named)
    found = findings(pair, args, kwargs, dataset_size=dataset_size or rows, data_plate=data_plate)
    report(found)
    return found


def first_batch(pair: HasPair, batch: tuple, named: Mapping[str, Any]) -> tuple[tuple, Mapping[str, Any], int | None]:
    """The first batch of what holds more of them, a DataLoader say, and how many rows there are."""
    given = batch[0] if len(batch) == 1 and not named else None
    if (stored := as_on_disk(given)) is not None:
        given = rows_of_frames(pair, stored)
    if not isinstance(given, Dataset | DataLoader):
        return batch, named, None
    batches = as_batches(given)
    first = batches.first()
    return first.args, first.kwargs, batches.rows


def report(found: tuple[Finding, ...]) -> None:
    """Raise the errors among findings together, or issue the warnings one by one."""
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        kind = DataError if all(finding.clause in _OF_DATA for finding in errors) else PairError
        raise kind("\n".join(f"[{finding.clause}] {finding.message}" for finding in errors))
    for finding in found:
        warn_user(f"[{finding.clause}] {finding.message}")


_OF_DATA = ("support", "data")


# Gradients come first: they are taken through log-probabilities that later clauses read.
CLAUSES: tuple[Callable[[TracedPair], Iterator[Finding]], ...] = (
    parameters.gradients_arrive,
    parameters.all_registered,
    parameters.names_are_free,
    parameters.one_kind,
    sites.matching_sites,
    sites.something_observed,
    shapes.fitting_shapes,
    sites.agreeing_plates,
    sites.plate_knows_the_data_set,
    sites.equal_scales,
    sites.equal_masks,
    sites.nothing_hidden_feeds_what_counts,
    sites.angles_within_a_round,
    sites.author_scales,
    values.computable,
    values.within_support,
    values.finite_draws,
    rounded_counts,
    reruns.reads_only_by_obs,
    reruns.reads_no_other_rows,
    reruns.fresh_noise,
)


def findings(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    *,
    dataset_size: int | None = None,
    data_plate: str | None = None,
) -> tuple[Finding, ...]:
    """Everything that is found, errors first; only errors of this package's own are raised."""
    found = tuple(check_call(pair, args, kwargs))
    if found:
        return found
    try:
        args, kwargs = as_given(pair, args, kwargs)
    except DataError as error:
        return (Finding("data", "error", str(error)),)
    with in_isolation() as called:
        with claiming(pair, called, networks=False) as noted:  # modules have a clause of their own
            traces = _run(pair, noted, args, kwargs, called)
        if isinstance(traces, Finding):
            return (traces,)
        traced, unclear = _traced_pair(pair, args, kwargs, traces, called, data_plate, dataset_size)
        with validation(False):
            found = helpful([finding for clause in CLAUSES for finding in _findings_of(clause, traced)])
    if unclear and not any(finding.severity == "error" for finding in found):
        raise unclear
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def _findings_of(clause: Callable[[TracedPair], Iterator[Finding]], traced: TracedPair) -> list[Finding]:
    """What a clause finds, up to where it fails: that must not hide what others find."""
    found = []
    try:
        found.extend(iter(clause(traced)))
    except PyrovaeError:
        raise
    except Exception:
        _logger.debug("the clause %s could not be checked to its end", clause.__name__, exc_info=True)
    return found


def helpful(found: list[Finding]) -> list[Finding]:
    """Without what another finding explains."""
    found = list({(finding.clause, finding.where): finding for finding in reversed(found)}.values())[::-1]
    return [finding for finding in found if not any(_explains(cause, finding) for cause in found)]


def _explains(cause: Finding, other: Finding) -> bool:
    """Whether mending the one mends the other too, or shows what is left of it."""
    if other.clause == "reads-other-rows":  # so do wrong shapes
        return cause.severity == "error"
    same = cause.where == other.where
    match cause.clause:
        case "module-name-taken":
            return other.clause in ("no-gradient", "unregistered")
        case "nothing-observed":
            return same and other.clause == "site-missing-in-guide"
        case "to-event" | "batch-outside-plate" | "shape":
            return same and other.clause in ("plate-mismatch", "raises")
        case "plate-mismatch" if cause.severity == "error":
            return other.clause == "one-sided-scale" if same else other.clause in _SHAPES
        case "one-sided-scale" | "plate-scale":
            return other.clause == "author-scale"
        case "dtype":
            return same and other.clause == "support"
        case "support" if cause.severity == "error":
            return other.clause in ("parameter", "data") or (same and other.clause == "raises")
    return False


_SHAPES = ("to-event", "batch-outside-plate", "shape")


# --- running the pair -----------------------------------------------------------------------------------
def _run(
    pair: HasPair, noted: HasPair, args: tuple, kwargs: Mapping[str, Any], called: Iterable[nn.Module]
) -> Traces | Finding:
    """Run the pair once; where it raises, the finding that explains why."""

    def trouble(error: Exception, side: str, *traces: Trace) -> Finding:
        names = argument_names(pair, args, kwargs)
        return explain(error, FailedRun(side, pair, args, kwargs, names, traces, roots(called)))

    guide, error = traced_until_error(noted.guide, args, kwargs)
    if error:
        if isinstance(pair.guide, AutoGuide):  # its first call runs the model, which may be what failed
            model, cause = traced_until_error(pair.model, args, kwargs)
            if cause:
                return trouble(cause, "model", model)
        return trouble(error, "guide", guide)
    model, error = traced_until_error(replayed_model(noted, guide), args, kwargs)
    return trouble(error, "model", guide, model) if error else Traces(model, guide)


def _data_plate(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], traces: Traces, wanted: str | None
) -> tuple[str | None, ArgumentError | None]:
    """The plate of the data, and the error to raise if nothing else explains why it cannot be told."""
    known = plates(traces)
    if wanted is not None and wanted not in known:
        raise ArgumentError(f"data_plate={wanted!r} is no plate of this pair; its plates are {listed(known)}.")
    try:
        return wanted or find_data_plate(pair, args, kwargs, traces), None
    except ArgumentError as error:
        return None, error


def _traced_pair(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    traces: Traces,
    called: Iterable[nn.Module],
    data_plate: str | None,
    dataset_size: int | None,
) -> tuple[TracedPair, ArgumentError | None]:
    every = [("guide", *one) for one in samples(traces.guide)] + [("model", *one) for one in samples(traces.model)]
    validated = frozenset((side, name) for side, name, node in every if validates(node["fn"]))
    with validation(False):
        # Before anything else runs: flows without an inverse know the values of their last run only.
        scores = {(side, name): log_prob(node) for side, name, node in every}
    plate, unclear = _data_plate(pair, args, kwargs, traces, data_plate)
    modules = roots([*bound_modules(pair), *called])
    rows = batch_rows(args, kwargs)
    traced = TracedPair(
        pair=pair,
        args=args,
        kwargs=kwargs,
        names=argument_names(pair, args, kwargs),
        traces=traces,
        other=with_other_rows(pair, args, kwargs, rows),
        structure=structure_of(traces, modules, plate),
        modules=modules,
        rows=rows,
        dataset_size=dataset_size,
        validated=validated,
        scores=scores,
    )
    return traced, unclear
