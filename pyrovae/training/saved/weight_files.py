"""Files of a pair's weights."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import weakref
from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.data.check_memory import check_memory
from pyrovae.data.data_units import Units, keep_units, units_document
from pyrovae.data.placement import placed
from pyrovae.data.read_as import read_as
from pyrovae.data.rows_of_frames import rows_of_frames
from pyrovae.errors import DataError, FileError, PairError, PyrovaeError
from pyrovae.pairs.blank import blank_data, has_blank
from pyrovae.pairs.looks.isolation import forked_random, validation
from pyrovae.pairs.looks.state_keeper import eval_mode
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair, owner, unwrapped
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.pairs.trace import run
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.training.saved import files

# The shapes that each pair was last run on, so that `save` needs no data after `fit`.
_last_batch: weakref.WeakKeyDictionary[Any, _Shapes] = weakref.WeakKeyDictionary()


@in_turn
def save(pair: HasPair, path: str | os.PathLike[str], *batch: Any, **named: Any) -> None:
    """Write the weights of a pair: unconstrained parameters, frozen ones too, and buffers, each tensor once.

    Args:
        pair: any pair.
        path: the file, `model.safetensors` by custom. It is replaced at once or not at all.
        *batch: a few rows of data, needed only for a pair that takes some, was never fitted, and has no `blank`.
        **named: the same by name.

    Raises:
        FileError: the file cannot be written; one that was there is as it was.

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> def new():
        ...     return pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> vae, other = new(), new()
        >>> pv.save(vae, path)
        >>> all(torch.equal(a, b) for a, b in zip(pv.load(other, path).parameters(), vae.parameters()))
        True
    """
    rows = _rows(pair, batch, named)
    structure = initialise(pair, rows) if batch or named else _of_stand_ins(pair, rows)
    document = {"kind": "weights", "batch": shapes_of(rows), "sites": sorted(structure.sites)}
    document |= {"schema": toml_of(pair), "units": units_document(pair)}
    files.write(path, _weights(structure), document)


@in_turn
def load(pair: HasPair, path: str | os.PathLike[str], *batch: Any, **named: Any) -> HasPair:
    """Read weights into a pair, in place; nothing in the file is executed.

    The pair is run once, on `batch` or else on zeros of the saved shapes, so that parameters made at the
    first call exist. A torch state dict and a file of Pyro's parameter store can be read too, where they
    hold tensors only.

    Args:
        pair: a pair of the same parameters.
        path: the file.
        *batch: a few rows of data.
        **named: the same by name.

    Returns:
        The same pair. The schema that a file holds is not put on it: `pv.tables.read_schema(path)` reads it.

    Raises:
        FileError: no such file, a damaged one, or one of another pair (the message names what is missing,
            extra or misshapen, and the pair is as it was), or of a pair with another schema.
    """
    path = Path(path)
    try:
        tensors, document = files.read(path)
    except FileError as own:
        try:
            tensors, document = files.read_tensors(path), {}
        except FileError:
            raise own from None
    with files.strange_content(path):
        tensors, shapes = of_weights(tensors, document)
        _check_schema(path, pair, document.get("schema"))
        units = read_as(dict[str, Units], document.get("units", {}), "the units of the data")
    rows = _zeros(shapes) if shapes and not (batch or named) else _rows(pair, batch, named)
    structure = initialise(pair, rows) if batch or named else _of_stand_ins(pair, rows)
    write_in_place(path, _weights(structure), _named_as(structure, tensors))
    keep_units(pair, units)
    return pair


def toml_of(pair: HasPair) -> str | None:
    """The schema that a pair carries, as a text."""
    schema = schema_of(pair)
    return None if schema is None else schema.toml()


def _check_schema(path: Path, pair: HasPair, written: Any) -> None:
    """Refuse weights that were learned from other columns, or from other classes of them."""
    mine = toml_of(pair)
    if read_as(str | None, written, "the schema") is not None and mine is not None and written != mine:
        of_lines = str(written).startswith("[vocabulary]")
        make = "text_vae(pv.text.read_vocabulary" if of_lines else "table_vae(pv.tables.read_schema"
        raise FileError(
            f"{path} was saved with another schema than this pair carries: its rows are others. Make the pair of that "
            f"one: pv.recipes.{make}({os.fspath(path)!r}))."
        )


def _named_as(structure: Structure, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A module's own state dict under the names that the module's tensors have in the pair."""
    wanted = set(_weights(structure))
    plain = {n if n in wanted else n.removesuffix("_unconstrained"): t for n, t in tensors.items()}
    for prefix in ("", *(f"{prefix}." for prefix in structure.modules)):
        named = {prefix + name: tensor for name, tensor in plain.items()}
        if set(named) == wanted:
            return named
    return tensors


def of_weights(tensors: dict[str, torch.Tensor], document: Mapping) -> tuple[dict[str, torch.Tensor], Any]:
    """The weights in a file, be it one of weights, a checkpoint, or another program's."""
    if document.get("kind") == "checkpoint":
        prefix = "weights."
        weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    else:
        weights = dict(zip(canonical(tensors), tensors.values(), strict=True))
    return weights, read_as(_Shapes | None, document.get("batch"), "the shapes of a batch")


def keep_shapes(pair: HasPair, batch: Batch) -> None:
    """Keep the shapes that a pair runs on."""
    with contextlib.suppress(TypeError):  # what cannot be referred to weakly is asked for a batch
        _last_batch[owner(pair)] = read_as(_Shapes, shapes_of(batch), "a batch")


def _rows(pair: HasPair, batch: tuple, named: Mapping[str, Any]) -> Batch:
    if batch or named:
        batches = as_batches(rows_of_frames(pair, dict(named) if named else batch))
        return batches.first(batches.rows)
    with contextlib.suppress(TypeError, KeyError):
        return _zeros(_last_batch[owner(pair)])
    if _takes_nothing(pair):
        return Batch((), {})
    if not has_blank(pair):
        raise PairError(
            "what this pair's parameters are shows only when it runs, and it was not fitted here. "
            "Give a few rows of its data: save(pair, path, x[:8]), load(pair, path, x[:8])."
        )
    return Batch(blank_data(pair, 2), {})


def _takes_nothing(pair: HasPair) -> bool:
    try:
        return not signature(unwrapped(pair).model).parameters
    except (TypeError, ValueError):
        return False  # a function that does not say what it takes


def initialise(pair: HasPair, batch: Batch, seed: int | None = None) -> Structure:
    """Run the pair once for good, so that what is made at the first call exists, and look at it.

    With the seed of a training it draws what its first step draws: the masks and orders of a flow, say.
    """
    place = placed(pair, batch)
    placed_batch = place.place(batch)
    try:
        with _unchecked(), pyro.poutine.block():
            seen = inspect(pair, placed_batch.args, placed_batch.kwargs, data_plate="-")
            with forked_random(seed), eval_mode(restores=False), _buffers_left(seen):
                run(pair, placed_batch.args, placed_batch.kwargs)
            return inspect(pair, placed_batch.args, placed_batch.kwargs, data_plate="-")
    except PyrovaeError:
        raise
    except Exception as error:
        raise PairError(
            f"the pair does not run on zeros of the shapes {shapes_of(batch)}: {type(error).__name__}: {error}. "
            "Give a few rows of real data after the path."
        ) from error


@contextlib.contextmanager
def _buffers_left(structure: Structure) -> Iterator[None]:
    """What modules keep from call to call is as before: this run is none of the user's."""
    parts = [part for module in structure.modules.values() for part in module.modules()]
    before = [
        (part, name, tensor, tensor.detach().clone())
        for part in parts
        for name, tensor in part.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for part, name, tensor, values in before:
            with torch.no_grad():
                tensor.copy_(values)
            setattr(part, name, tensor)


def _of_stand_ins(pair: HasPair, zeros: Batch) -> Structure:
    """The same on zeros, or where these are no data at all (a length of 0, say) on what the pair gives as blank."""
    try:
        return initialise(pair, zeros)
    except DataError:
        if not has_blank(pair):
            raise
        return initialise(pair, Batch(blank_data(pair, 2), {}))


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Zeros need not be data that the likelihood would take."""
    with validation(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _weights(structure: Structure) -> dict[str, torch.Tensor]:
    return {**structure.parameters, **structure.buffers(), **structure.untrained}


def shapes_of(batch: Batch) -> dict[str, Any]:
    """Shapes and types of a batch, as JSON can hold them."""

    def shape(leaf: torch.Tensor) -> list:
        return [list(leaf.shape), str(leaf.dtype).removeprefix("torch.")]

    return {"args": [shape(leaf) for leaf in batch.args], "kwargs": {k: shape(v) for k, v in batch.kwargs.items()}}


class _Shapes(NamedTuple):
    """What `shapes_of` says."""

    args: tuple[tuple[tuple[int, ...], str], ...]
    kwargs: dict[str, tuple[tuple[int, ...], str]]


def _zeros(shapes: _Shapes) -> Batch:
    def zeros(entry: tuple[tuple[int, ...], str]) -> torch.Tensor:
        shape, name = entry
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype) or min(shape, default=0) < 0:
            raise FileError(f"no batch has the shape {shape} and the type {name}: the file is damaged")
        check_memory(16 * math.prod(shape), f"a batch of shape {shape}", "Give a few rows of data after the path.")
        return torch.zeros(shape, dtype=dtype)

    return Batch(tuple(map(zeros, shapes.args)), {k: zeros(v) for k, v in shapes.kwargs.items()})


@torch.no_grad()
def write_in_place(path: Path, into: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors by name, after all names and shapes were compared."""
    missing, extra = sorted(set(into) - set(tensors)), sorted(set(tensors) - set(into))
    wrong = [
        f"{name} is {tuple(tensors[name].shape)} in the file and {tuple(into[name].shape)} here"
        for name in sorted(set(into) & set(tensors))
        if tensors[name].shape != into[name].shape
    ]
    too_large = [
        name
        for name in sorted(set(into) & set(tensors))
        if into[name].is_floating_point()
        and tensors[name].isfinite().all()
        and not tensors[name].to(into[name]).isfinite().all()
    ]
    complaints = [
        *([f"too large for the type that they have here: {_few(too_large)}"] if too_large else []),
        *([f"missing in the file: {_few(missing)}"] if missing else []),
        *([f"not in this pair: {_few(extra)}"] if extra else []),
        *([f"other shapes: {_few(wrong)}"] if wrong else []),
    ]
    if complaints:
        raise FileError(f"{path} belongs to another model; {'; '.join(complaints)}. Build the pair as it was saved.")
    for name, tensor in into.items():
        tensor.copy_(tensors[name])


def _few(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
