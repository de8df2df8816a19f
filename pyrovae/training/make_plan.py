"""From the arguments of `fit` to a plan that can run, everything checked before the first step."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pyro.poutine.runtime import _PYRO_STACK

from pyrovae.checks.check_nonfinite import check_nonfinite
from pyrovae.checks.check_pair import findings, report
from pyrovae.checks.check_precision import check_precision
from pyrovae.checks.finding import Finding
from pyrovae.checks.supports import check_supports
from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches, as_batches, tile_size
from pyrovae.data.check_same_rows import check_same_rows
from pyrovae.data.choose_batches import Cut, choose_batches
from pyrovae.data.data_checks import check_training_data
from pyrovae.data.rows_of_frames import frames_among, rows_of_frames
from pyrovae.errors import ArgumentError, DataError, PairError, argument, warn_user
from pyrovae.objectives.adversarial import discriminators
from pyrovae.objectives.generated_sides import generated_words
from pyrovae.objectives.losses import check_objective, check_rows, own_loss, try_once
from pyrovae.objectives.temper import Tempered
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.implicit_draws import has_density, loose_words, sites_without_density
from pyrovae.pairs.numbers import check_count, check_positive, check_share
from pyrovae.pairs.pair import HasPair, check_is_pair, wrappers
from pyrovae.pairs.structure import Structure, inspected
from pyrovae.pairs.trace import Traces
from pyrovae.staged.precision import PRECISIONS
from pyrovae.staged.routes.staging import MODES
from pyrovae.training.choose_optimiser import choose_optimiser
from pyrovae.training.fit_options import FitOptions
from pyrovae.training.parallel.agreement import shared
from pyrovae.training.parallel.team import SingleProcess
from pyrovae.training.plan import Plan
from pyrovae.training.resting_optimiser import let_model_rest
from pyrovae.training.saved import weight_files
from pyrovae.training.saved.description import describe_argument
from pyrovae.training.trackers.tracker import check_tracker


def check_arguments(pair: Any, options: FitOptions) -> dict[str, int]:
    """Refuse arguments that cannot work, before anything is looked at; the counts among them as Python's own."""
    check_is_pair(pair)
    check_choice("staged", options.staged, MODES)
    check_choice("precision", options.precision, PRECISIONS)
    if options.epochs is None and options.steps is None:
        raise ArgumentError(
            f"how long to train? Give {argument('epochs')}, {argument('steps')}, or both (whichever is reached first)."
        )
    check_tracker(options.tracker)
    given = {
        name: getattr(options, name) for name in ("epochs", "steps", "patience") if getattr(options, name) is not None
    }
    counts = {name: check_count(name, value) for name, value in given.items()}
    for name, value in (("clip_norm", options.clip_norm), ("checkpoint_every", options.checkpoint_every)):
        if value is not None:
            check_positive(name, value)
    if options.average is not None:
        check_share("average", options.average, example="0.999")
    if options.patience is not None and options.validation is None:
        raise ArgumentError(
            f"patience counts epochs without a better bound of held-out rows; give {argument('validation')} too."
        )
    return counts


def check_choice(name: str, value: Any, choices: tuple) -> None:
    """Refuse what is not one of a few values; 1 is not True here."""
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices):
        raise ArgumentError(f"{argument(name, value)}; give {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}.")


def check_folder(checkpoint: Any) -> Path | None:
    """A folder's path, wherever the process goes to while it trains; None stays None."""
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, str | os.PathLike) or not os.fspath(checkpoint):
        raise ArgumentError(f"checkpoint={checkpoint!r}; give the path of a folder.")
    return Path(os.fsdecode(checkpoint)).absolute()


def warn_of_handlers() -> None:
    """Handlers around `fit` are shut out: validation and checks would see another model than training."""
    if _PYRO_STACK:
        names = ", ".join(type(handler).__name__ for handler in _PYRO_STACK)
        warn_user(
            f"fit runs inside Pyro handlers ({names}), which do not reach the pair. Put them around its functions: "
            "pv.Pair(poutine.scale(model, scale=...), poutine.scale(guide, scale=...))."
        )


def make_plan(
    pair: HasPair, data: Any, options: FitOptions, *, seed: int, resumed: bool, team: SingleProcess
) -> tuple[Plan, tuple[Finding, ...]]:
    """Look at data and pair, and put together what a trainer needs.

    Args:
        pair: the pair.
        data: the training data.
        options: the arguments of `fit`.
        seed: of the order of the data.
        resumed: whether parameters made at the first call must exist, to be written into.
        team: the processes that train together.

    Returns:
        The plan, and what is probably wrong with the pair.
    """
    data_plate = options.data_plate
    _check_may_train(pair)
    optimiser = choose_optimiser(options.optim, options.learning_rate)
    tempered = Tempered(pair, options.temper)
    cut = Cut(
        options.batch_size, options.transform, options.row_weights, options.validation is not None,
        options.device, data_plate, seed, team.size,
    )  # fmt: skip
    for frame in frames_among(data).values():
        check_same_rows(frame, options.row_weights, "row_weights")
    batches, placement = choose_batches(pair, rows_of_frames(pair, data), cut)
    _check_one_process(pair, team.size)
    if batches.batches_per_epoch is None and options.steps is None:
        raise ArgumentError("these data have no length, so that an epoch has no end; give steps=.")
    first = batches.first()
    check_nonfinite(pair, batches, first, options.device)
    if batches.random_access and batches.transform is None and batches.leaves():
        check_training_data(pair, batches.leaves())
    held_out = _held_out(pair, options, first, batches.batch_size, seed)
    check_precision(first, placement)
    batch = placement.place(first)
    found = findings(pair, batch.args, batch.kwargs, dataset_size=batches.rows, data_plate=data_plate)
    report(found)
    if resumed or team.size > 1:
        weight_files.initialise(pair, batch, seed)
    structure, traces = inspected(pair, batch.args, batch.kwargs, data_plate=data_plate, trains=True)
    none = _check_implicit(pair, traces, options, batch)
    check_supports(pair, batches, batch, traces, placement)
    _check_last_batch(batches, structure)
    _check_trainable(structure)
    optimiser.check_names(list(structure.parameters))
    let_model_rest(optimiser, pair, structure, batch)
    tempered.prepare(structure)
    own = own_loss(options.loss, structure)
    fixed = FixedPlate(tempered, structure.data_plate)  # as every step runs it
    check_rows(pair, batches.rows)
    check_objective(own, fixed, structure, traces, batch.args, batch.kwargs)
    try_once(own, fixed, structure, batch.args, batch.kwargs)
    shares = shared(pair, batches, first, structure, team, placement.place) if team.size > 1 else None
    plan = Plan(
        pair, batches, first, held_out, structure, placement, own, optimiser, tempered,
        epochs=options.epochs, steps=options.steps, clip_norm=options.clip_norm, patience=options.patience,
        average=options.average, seed=seed, staged=options.staged, precision=options.precision,
        team=team, shares=shares, no_density=none,
    )  # fmt: skip
    return plan, found


def _check_may_train(pair: HasPair) -> None:
    for layer in wrappers(pair):
        if layer.why_not_trained:
            raise PairError(layer.why_not_trained)


def _check_trainable(structure: Structure) -> None:
    if not any(parameter.requires_grad for parameter in structure.parameters.values()):
        raise ArgumentError(
            "there is nothing to train: the pair has no parameter that requires a gradient. Register modules by "
            "pyro.module, or undo requires_grad_(False)."
        )


def _check_one_process(pair: HasPair, processes: int) -> None:
    """Steps of a discriminator are not averaged over processes, whose weights would part."""
    if processes > 1 and discriminators(pair):
        raise ArgumentError(
            "the pair has a discriminator (adversarial), whose steps several processes do not share; train in one "
            "process."
        )


def _check_implicit(pair: HasPair, run: Traces, options: FitOptions, batch: Batch) -> str:
    """A draw without a density has no KL; nor is there an ELBO by which epochs could be compared, which is said."""
    names = sites_without_density(run)
    nodes = [(name, trace.nodes[name]) for name in names for trace in run if name in trace]
    loose = [name for name, node in nodes if node.get("mask") is not False and not has_density(node.get("fn"))]
    if loose and options.temper != 0:
        raise PairError(loose_words(loose[0]))
    if names and options.patience is not None:
        raise ArgumentError(
            f"{argument('patience', options.patience)}: {next(iter(names))!r} has no density here, so that there is no "
            "bound by which one epoch is better than another. Leave patience out."
        )
    if any(layer.generates(batch.args, batch.kwargs) for layer in discriminators(pair)):
        return generated_words(next(iter(names)))
    return next(iter(names.values()), "")


def _check_last_batch(batches: Batches, structure: Structure) -> None:
    """Batch norm has no statistics of one row, which shows only at the end of the first epoch."""
    rows, size = batches.rows, batches.batch_size
    parts = (part for module in structure.modules.values() for part in module.modules())
    norms = any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in parts)
    if norms and rows and size and batches.random_access and rows % size == 1:
        raise ArgumentError(
            f"{argument('batch_size', size)} leaves one row of {rows} for the last batch, of which BatchNorm has no "
            f"statistics. Choose a batch size that does not, {size + 1} say, or leave one row out."
        )


def _held_out(pair: HasPair, options: FitOptions, first: Batch, batch_size: int | None, seed: int) -> Batches | None:
    validation = rows_of_frames(pair, options.validation)
    if validation is None:
        return None
    if isinstance(validation, float) and 0 < validation < 1:
        raise ArgumentError(
            f"{argument('validation', validation)}: a share is no data. Hold rows out yourself: "
            f"{argument('validation', text='x[:n]')}, and train on the others, x[n:]."
        )
    try:
        held_out = as_batches(
            validation, batch_size=tile_size(validation, batch_size), transform=options.transform, seed=seed
        )
        theirs = held_out.first()
        check_nonfinite(pair, held_out, theirs, options.device)
    except DataError as error:
        raise DataError(f"validation: {error}") from None
    if _shapes(theirs) != _shapes(first):
        raise DataError(
            f"validation: one datum has shape {_shapes(theirs)}, and {_shapes(first)} in the training data; give the "
            "same columns."
        )
    return held_out


def _shapes(batch: Batch) -> dict[int | str, tuple[int, ...]]:
    return {name: tuple(leaf.shape[1:]) for name, leaf in batch.leaves.items()}


# What is about one call, and not about the training that it makes.
_OF_THE_CALL = ("seed", "checkpoint", "checkpoint_every", "resume", "progress", "tracker")

# What may differ when a run is resumed.
_FREE = ("epochs", "steps", "validation", "device", "staged")  # validation data are compared as data


def described(options: FitOptions) -> dict[str, str]:
    """The arguments that a resumed run must have in common with the run that it goes on with."""
    return _described(options, but=(*_OF_THE_CALL, *_FREE))


def _described(options: FitOptions, *, but: Collection[str]) -> dict[str, str]:
    names = (field.name for field in fields(options))
    return {name: describe_argument(getattr(options, name)) for name in names if name not in but}


# What may differ from process to process: the data are compared as data, a transform may look at its process, and
# the first process writes.
_OWN = ("device", "transform", "validation", "checkpoint", "checkpoint_every", "progress", "tracker")


def agree_on(options: FitOptions, team: SingleProcess) -> None:
    """Refuse arguments that differ between the processes of a training, which would train something else in each."""
    mine = _described(options, but=_OWN)
    mine["validation"] = "left out" if options.validation is None else "given"
    for rank, theirs in enumerate(team.all_gather(mine)):
        for name in mine:
            if theirs.get(name) != mine[name]:
                raise ArgumentError(
                    f"{name} is {mine[name]} in process {team.rank} and {theirs.get(name)} in process {rank}; give all "
                    "processes the same arguments. The first one alone writes, so that folders need no difference."
                )
