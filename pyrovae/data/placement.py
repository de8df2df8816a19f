"""Where a pair takes its data: on which device, in which floating type, and what has to be cast."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.data_checks import DataCheck, check_data, data_checks
from pyrovae.data.move_batch import move_batch
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair, bound_modules
from pyrovae.pairs.structure import Structure, double_parts, inspect
from pyrovae.pairs.trace import run, samples


class Placement(NamedTuple):
    """How a batch has to arrive for a pair to take it."""

    device: torch.device
    dtype: torch.dtype
    cast: frozenset[int | str]  # positions and names of whole-number leaves that the likelihood wants as floats
    keep_double: bool = False  # whether the pair takes numbers in double precision as they are
    checks: tuple[DataCheck, ...] = ()  # of the pair's own, for each batch

    def place(self, batch: Batch) -> Batch:
        """The batch on the device, floating leaves in the pair's type, after the pair's own checks of its data."""
        check_data(self.checks, batch.args, batch.kwargs)  # here, where no device has to be waited for
        return move_batch(batch, self.device, self.dtype, self.cast, keep_double=self.keep_double)

    def leaf(self, key: int | str, tensor: torch.Tensor) -> torch.Tensor:
        """One leaf as `place` would bring it."""
        cast = [0] if key in self.cast else []
        return move_batch(Batch((tensor,), {}), self.device, self.dtype, cast, keep_double=self.keep_double).args[0]


class Seen(NamedTuple):
    """How a pair takes a batch, and its structure there, where it was looked at in that very placement."""

    placement: Placement
    structure: Structure | None = None


def find_placement(pair: HasPair, batch: Batch, device: str | torch.device) -> Placement:
    """Find how a pair takes this batch, by running it; its modules and parameters are moved to the device."""
    return seen_on(pair, batch, device, "-").placement


def seen_on(pair: HasPair, batch: Batch, device: str | torch.device, data_plate: str | None) -> Seen:
    """The same, and what the pair shows there; see `inspect`.

    Floating leaves go to the parameters' type. Unsigned leaves are cast where the pair does not run on them
    as they are, or where they are observed by anything but a categorical distribution (a Poisson
    likelihood would overflow on them).
    """
    chosen = choose_device(device)
    move(bound_modules(pair), {}, chosen)
    seen = _seen_there(pair, batch, chosen, data_plate)
    if seen is None and _moved_whole(pair, batch, chosen):
        seen = _seen_there(pair, batch, chosen, data_plate)
    # Where nothing ran, the contract says in words why.
    return seen or Seen(Placement(chosen, torch.get_default_dtype(), frozenset(), checks=data_checks(pair)))


def _moved_whole(pair: HasPair, batch: Batch, chosen: torch.device) -> bool:
    """Move the modules, too, that model and guide hold; whether there were any.

    Which these are shows only when the pair runs, and there a run fails at the first that stands elsewhere: it is
    moved, and the pair is run again.
    """
    moved: set[int] = set()
    there = [candidate.place(batch) for candidate in _candidates(pair, batch, chosen)]
    while True:
        with isolated(0) as called:
            for placed_batch in there:
                with contextlib.suppress(Exception):
                    run(pair, placed_batch.args, placed_batch.kwargs)
        away = [one for one in called if id(one) not in moved and _stands_elsewhere(one, chosen)]
        if not away:
            return bool(moved)
        move(away, {}, chosen)
        moved.update(map(id, away))


def _stands_elsewhere(module: torch.nn.Module, device: torch.device) -> bool:
    """Whether a module has weights on another device, from which they can be taken."""
    return any(weight.device.type not in (device.type, "meta") for weight in module.parameters())


def _seen_there(pair: HasPair, batch: Batch, chosen: torch.device, data_plate: str | None) -> Seen | None:
    """How a pair takes a batch on a device; None where it runs on none of the ways."""
    usable = None
    for candidate in _candidates(pair, batch, chosen):
        structure = _structure(pair, candidate, batch, data_plate)
        if structure is None:
            continue
        move(structure.modules.values(), structure.parameters, chosen)
        candidate, before = _in_type_of(structure, candidate), candidate
        if candidate != before:
            structure = _structure(pair, candidate, batch, data_plate)
        if structure is None:
            continue
        seen = Seen(candidate._replace(checks=data_checks(pair, structure.modules.values())), structure)
        usable = usable or seen
        if not _takes_bytes_as_floats(pair, candidate, batch):
            return seen
    return usable


def placed(pair: HasPair, batch: Batch) -> Placement:
    """The placement of a pair that is used as it stands: on the device where its parameters are."""
    return seen_in_place(pair, batch, "-").placement


def seen_in_place(pair: HasPair, batch: Batch, data_plate: str | None) -> Seen:
    """The same, and what the pair shows there; see `inspect`."""
    usable = None
    for device in dict.fromkeys([*(str(p.device) for m in bound_modules(pair) for p in m.parameters()), "cpu", "cuda"]):
        if device.startswith("cuda") and not torch.cuda.is_available():
            continue
        for candidate in _candidates(pair, batch, torch.device(device)):
            structure = _structure(pair, candidate, batch, data_plate)
            if structure is None:
                continue
            found = _in_type_of(structure, candidate)
            if _dtype(structure) is None:
                found = found._replace(dtype=_given_dtype(pair, candidate, batch))
            looked = structure if found == candidate else None
            seen = Seen(found._replace(checks=data_checks(pair, structure.modules.values())), looked)
            usable = usable or seen
            if not _takes_bytes_as_floats(pair, candidate, batch):
                return seen
    nowhere = Placement(torch.device("cpu"), torch.get_default_dtype(), frozenset(), checks=data_checks(pair))
    return usable or Seen(nowhere)


def _given_dtype(pair: HasPair, candidate: Placement, batch: Batch) -> torch.dtype:
    """Where no parameter says the type, data in double precision stay that, if the pair takes them so."""
    double = candidate._replace(dtype=torch.float64)
    is_double = any(getattr(leaf, "dtype", None) == torch.float64 for leaf in batch.leaves.values())
    return torch.float64 if is_double and _structure(pair, double, batch) is not None else candidate.dtype


def choose_device(device: str | torch.device) -> torch.device:
    """The device for a name; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ArgumentError(
            f"{argument('device', device)} is not a device: {error}. Use 'auto', 'cpu' or 'cuda'."
        ) from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(f"{argument('device', device)}, but torch sees no CUDA device here. Use 'cpu' or 'auto'.")
    return chosen


def move(
    modules: Collection[torch.nn.Module] | Any, parameters: Mapping[str, torch.Tensor], device: torch.device
) -> None:
    """Move modules and free parameters in place: the tensors stay the same objects, in Pyro's store too."""
    for module in modules:
        if any(tensor.device != device for tensor in itertools.chain(module.parameters(), module.buffers())):
            module.to(device)
    for parameter in parameters.values():
        if parameter.device != device:
            parameter.data = parameter.data.to(device)


def _candidates(pair: HasPair, batch: Batch, device: torch.device) -> Iterator[Placement]:
    known = [p.dtype for m in bound_modules(pair) for p in m.parameters() if p.is_floating_point()]
    dtypes = dict.fromkeys([*known[:1], torch.get_default_dtype(), torch.float32, torch.float64])
    small = [key for key, leaf in batch.leaves.items() if _is_bytes(leaf)]
    casts = (
        [c for n in range(len(small) + 1) for c in itertools.combinations(small, n)] if len(small) < 5 else [(), small]
    )
    for dtype, cast in itertools.product(dtypes, casts):
        yield Placement(device, dtype, frozenset(cast))


# Bytes overflow in what floating likelihoods compute, and torch computes with the wider ones hardly at all.
_BYTES = (torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64)


def _is_bytes(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dtype in _BYTES


def _structure(pair: HasPair, candidate: Placement, batch: Batch, data_plate: str | None = "-") -> Structure | None:
    try:
        return inspect(pair, *candidate.place(batch)[:2], data_plate=data_plate)
    except Exception:
        return None  # this candidate does not fit; another may


def _dtype(structure: Structure) -> torch.dtype | None:
    kinds = [p.dtype for p in structure.parameters.values() if p.is_floating_point()]
    return max(kinds, key=kinds.count) if kinds else None


def _in_type_of(structure: Structure, candidate: Placement) -> Placement:
    keep_double = bool(double_parts(structure))
    return candidate._replace(dtype=_dtype(structure) or candidate.dtype, keep_double=keep_double)


def _takes_bytes_as_floats(pair: HasPair, candidate: Placement, batch: Batch) -> bool:
    """Whether a distribution other than a categorical one observes bytes as they are."""
    if not any(map(_is_bytes, batch.leaves.values())):
        return False
    with isolated():
        traces = run(pair, *candidate.place(batch)[:2])
    return any(
        node["is_observed"] and _is_bytes(node["value"]) and "Categorical" not in type(base_of(node["fn"])).__name__
        for _, node in samples(traces.model)
    )
