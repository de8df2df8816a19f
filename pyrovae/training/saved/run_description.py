"""What a run is beside its weights: the same when it is resumed, and the same in all of its processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.data.batches import Batches
from pyrovae.data.data_digest import DataDigest, changed_values, data_digest
from pyrovae.errors import ArgumentError, DataError, PyrovaeError, warn_user
from pyrovae.training.plan import Plan
from pyrovae.training.saved.description import describe_data
from pyrovae.training.saved.fingerprint import fingerprint
from pyrovae.training.saved.pair_description import describe_buffers, describe_pair

Description = Mapping[str, Any]


class RunDifference(NamedTuple):
    """One thing that two runs do not have in common."""

    what: str
    one: Any
    other: Any
    error: type[PyrovaeError] = ArgumentError


def describe_run(arguments: Mapping[str, str], plan: Plan, like: Description | None = None) -> dict[str, Any]:
    """Arguments, data and pair of a run, in plain values.

    Args:
        arguments: their descriptions.
        plan: the data and the pair.
        like: another description, of as many rows of a Dataset.
    """
    return {
        "arguments": dict(arguments),
        "data": describe_data(plan.batches, read=_read(like, "data")),
        "validation": describe_data(plan.validation, read=_read(like, "validation")) if plan.validation else None,
        "types": {name: f"{tuple(p.shape)} {p.dtype}" for name, p in plan.structure.parameters.items()},
        "pair": describe_pair(plan),
        "buffers": describe_buffers(plan),
    }


def _read(like: Description | None, which: str) -> int | None:
    return None if like is None or like[which] is None else like[which]["values"][1] or None


def difference(plan: Plan, one: Description, other: Description) -> RunDifference | None:
    """The first thing in which two runs differ, one of which is that of the plan."""
    return next(_differences(plan, one, other), None)


def _differences(plan: Plan, one: Description, other: Description) -> Iterator[RunDifference]:
    yield from _of(one["arguments"], other["arguments"])
    for which, words, batches in (
        ("data", "the data", plan.batches),
        ("validation", "the validation data", plan.validation),
    ):
        yield from _of_data(words, batches, one[which], other[which])
    for which, words in (("types", "parameter "), ("pair", ""), ("buffers", "buffer ")):
        yield from _of(one[which], other[which], words)


def _of(one: Mapping[str, Any], other: Mapping[str, Any], words: str = "") -> Iterator[RunDifference]:
    for name in {**other, **one}:
        values = one.get(name, "not there"), other.get(name, "not there")
        if values[0] != values[1]:
            yield RunDifference(f"{words}{name}", values[0], values[1])


_OF_DATA = {
    "rows": "the number of rows",
    "leaves": "the shapes",
    "batches": "the number of batches",
    "order": "the order",
}


def _of_data(words: str, batches: Batches | None, one: Description | None, other: Description | None) -> Iterator[Any]:
    if one is None or other is None or batches is None:
        if one is not other:
            said = ["left out" if held is None else "given" for held in (one, other)]
            yield RunDifference(words, said[0], said[1], DataError)
        return
    for name, what in _OF_DATA.items():
        if one[name] != other[name]:
            yield RunDifference(f"{what} of {words}", one[name], other[name], DataError)
    values = DataDigest(*one["values"]), DataDigest(*other["values"])
    changed = changed_values(*values)
    if changed and _repeats(batches, values):
        held = [f"{_hash(digest)} as a digest of {digest.words}" for digest in values]
        yield RunDifference(f"{changed} of {words}", held[0], held[1], DataError)


def _hash(digest: DataDigest) -> str:
    return ", ".join(text[:8] for text in digest.digests.values())


def _repeats(batches: Batches, known: tuple[DataDigest, DataDigest]) -> bool:
    """Whether a Dataset gives one of two contents again; where it never does, nothing can be compared."""
    read = min(digest.read for digest in known)
    if batches.leaves() or data_digest(batches, read=read).digests in [digest.digests for digest in known]:
        return True
    warn_user(
        "the data set gives other values when it is asked again, so that nobody can say whether it is the one that "
        "the run began with."
    )
    return False


def without_state(description: Description, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """A description without the buffers that its training has changed since, such as a batch norm's averages."""
    buffers = description["buffers"]
    constant = {n: t for n, t in buffers.items() if n not in weights or fingerprint(weights[n]) == t}
    return {**description, "buffers": constant}


def only_common_buffers(description: Description, other: Description) -> dict[str, Any]:
    """A description with the buffers alone that another one has, too."""
    return {**description, "buffers": {n: t for n, t in description["buffers"].items() if n in other["buffers"]}}
