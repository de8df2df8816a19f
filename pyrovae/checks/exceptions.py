"""What an exception out of a model or guide means, in words."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from pyro.poutine.trace_struct import Trace
from torch import nn

from pyrovae.checks.finding import Finding
from pyrovae.checks.parameters import in_words, kinds_of
from pyrovae.checks.shapes import explain_mismatch
from pyrovae.checks.traced_pair import described, named, nodes
from pyrovae.pairs.improper import no_draws_words
from pyrovae.pairs.names import canonical
from pyrovae.pairs.pair import HasPair, bound_modules
from pyrovae.pairs.summed_alone import summed_alone
from pyrovae.pairs.trace import unconstrained


class FailedRun(NamedTuple):
    """Where an exception happened: the call, and what had run by then."""

    side: str
    pair: HasPair
    args: tuple
    kwargs: Mapping[str, Any]
    names: Mapping[int | str, str]
    traces: tuple[Trace, ...]
    modules: list[nn.Module]


def explain(error: Exception, failed: FailedRun) -> Finding:
    """The finding for an exception that the model or the guide raised."""
    text = first_sentence(str(error))
    message = failing_site(error)
    mismatch = explain_mismatch(str(error), failed.side, message)
    unequal = _unequal(failed)
    if mismatch and not unequal:
        return mismatch
    clause, mend = clause_of(str(error))
    if isinstance(error, AttributeError | TypeError):
        clause, mend = _no_tensor(failed) or ("raises", "")
    hole = nonfinite_in(failed.args, failed.kwargs, failed.names)
    if hole and clause == "parameter":
        mend = f"The cause is in the data: {hole[1]}. Drop these rows, or mask what is missing: pv.masked(pair)."
        clause = "data"
    if clause in ("dtype", "device"):
        mend = f"{_kinds(failed, clause)}{mend}"
    if clause == "shape" and unequal:
        mend = f"{unequal} {mend}"
    mend = no_draws_words(error) or summed_alone(failed.pair, failed.args, failed.kwargs) or mend
    at = f" at {message['name']!r}" if message else ""
    return Finding(
        clause,
        "error",
        f"the {failed.side} fails{at}{_place(error)} on {described(failed.args, failed.kwargs, failed.names)}: "
        f"{'' if clause in _SPEAKING else type(error).__name__ + ': '}{text}. {mend}".strip(),
        hole[0] if hole and clause == "data" else message["name"] if message else "",
    )


_SPEAKING = ("shape", "dtype", "device", "parameter", "support")  # clauses that need no name of the exception


# --- what is known of messages ----------------------------------------------------------------------------

# Clause, what torch's or Pyro's message holds, and the mend; the first that fits.
_KNOWN = (
    (
        "device",
        r"same device|on meta|different devices|expected device|device type|on device",
        "Bring data and modules to one device: .to(device); fit(device=...) does it by itself.",
    ),
    (
        "dtype",
        r"Complex",
        "Complex numbers are split into real ones: torch.view_as_real(x).",
    ),
    (
        "dtype",
        r"indices.{0,80}scalar type|used as ind|as indices",
        "Class numbers that choose from an embedding or a table must be integers: c.long().",
    ),
    (
        "dtype",
        r"two bool tensors|same dtype|expected scalar type|dtype.{0,40}(mismatch|expected)|can't be cast|"
        r"not implemented for|expected .{0,40}dtype",
        "Give data and parameters one floating type: x.float() or module.double() (fit casts its data by itself); "
        "class labels belong into an embedding or torch.nn.functional.one_hot.",
    ),
    (
        "support",
        r"within the support",
        "Binarise or rescale the data, or choose a likelihood whose support holds them.",
    ),
    (
        "parameter",
        r"Expected parameter .* to satisfy the constraint",
        "The network gives a parameter that the distribution cannot take: bound it (softplus), or look for NaN.",
    ),
    (
        "parameter",
        r"inference tensors? .{0,60}(not allowed|outside)|Inference tensors cannot",
        "Its parameters were made inside torch.inference_mode(), where nothing made can ever be trained. Make the pair "
        "outside of it (torch.no_grad() does no such harm).",
    ),
    (
        "raises",
        r"intermediates cache",
        "A flow without an inverse (Planar, Radial, Sylvester) knows the density of its own last draw alone, and this "
        "scores other values: take one with an inverse (an affine autoregressive or a coupling flow).",
    ),
    (
        "raises",
        r"uninitialized parameter",
        "A lazy layer (torch.nn.LazyLinear) has no weights before its first call, and Pyro registers it before that: "
        "call it once on a few rows as soon as it is made, encoder(x[:2]).",
    ),
    (
        "raises",
        r"must be sampled in trace",
        "The guide computes or observes a site that the model draws: a point is drawn from a Delta there, "
        "pyro.sample(name, dist.Delta(value, event_dim=...)).",
    ),
    (
        "raises",
        r"Multiple sample sites named",
        "Give each site and each plate its own name, or make the plate once and enter the same object twice.",
    ),
    (
        "raises",
        r"index out of range|out of bounds",
        "A class number or index is beyond the size of its embedding or table: numbers run from 0 to size - 1.",
    ),
    (
        "shape",
        r"shapes? cannot|size of tensor|sizes of tensors|must match|not? broadcast|invalid for input of size|"
        r"Expected .*D|normalized_shape|mismatch|dimension|at dim|inconsistent tensor size|expected input",
        "Compare the shape of one datum with what the first layer and the distribution expect.",
    ),
)


def clause_of(text: str) -> tuple[str, str]:
    """The clause that a message belongs to, and the mend."""
    for clause, pattern, mend in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return clause, mend
    return ("shape" if "shape" in text else "raises"), ""


def first_sentence(text: str, limit: int = 300) -> str:
    """A message without the shapes that Pyro appends and the tensors that torch prints."""
    lines = text.split("Trace Shapes:")[0].strip().splitlines() or ["no message"]
    line = lines[0].strip().rstrip(".:!")
    return line if len(line) <= limit else line[:limit] + " ..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__  # pyright: ignore[reportAssignmentType]
    return reversed(seen)


def failing_site(error: Exception) -> Mapping[str, Any] | None:
    """Pyro's message of the sample site that was being drawn, read off the frames of the exception."""
    for one in _chain(error):
        for frame, _ in reversed(list(traceback.walk_tb(one.__traceback__))):
            message = frame.f_locals.get("msg") if frame.f_code.co_name == "apply_stack" else None
            if isinstance(message, dict) and message.get("type") == "sample":
                return message
    return None


_LIBRARIES = tuple(str(Path(file).parent) for file in (str(torch.__file__), str(pyro.__file__), __file__))

_STANDARD = str(Path(contextlib.__file__).parent)


def _is_own(file: str) -> bool:
    """Whether a file is the user's: neither a library here nor a module such as contextlib."""
    return not file.startswith(_LIBRARIES) and str(Path(file).parent) != _STANDARD


def _place(error: Exception) -> str:
    """File and line of the user's own code that raised."""
    for one in _chain(error):
        frames = traceback.extract_tb(one.__traceback__)
        own = [frame for frame in frames if _is_own(frame.filename)]
        if own:
            return f" ({Path(own[-1].filename).name}:{own[-1].lineno})"
    return ""


# --- what is known of the data and the pair -----------------------------------------------------------------
def nonfinite_in(args: tuple, kwargs: Mapping[str, Any], names: Mapping[int | str, str]) -> tuple[str, str] | None:
    """The first argument that holds NaN or infinity, and where, in words."""
    for key, leaf in named(args, kwargs):
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point() or leaf.is_meta:
            continue
        places = (~torch.isfinite(leaf)).nonzero()
        if len(places):
            row, *rest = [*places[0].tolist(), 0][: max(1, leaf.ndim)]
            column = f", column {rest[0] if len(rest) == 1 else rest}" if rest else ""
            shown = leaf[tuple(places[0].tolist())].item()
            return names[key], f"{names[key]!r} is {shown:g} in row {row}{column}"
    return None


def _no_tensor(failed: FailedRun) -> tuple[str, str] | None:
    """The clause and mend where something that is no tensor was given as data."""
    for key, leaf in named(failed.args, failed.kwargs):
        if leaf is None or isinstance(leaf, str) or (hasattr(leaf, "__iter__") and not isinstance(leaf, torch.Tensor)):
            kind = "None" if leaf is None else f"a {type(leaf).__name__}"
            return "data", (
                f"{failed.names[key]!r} is {kind}: give a tensor or an array. Several are unpacked, check_pair(pair, "
                "*batch) or check_pair(pair, **batch); of a DataLoader give one batch, next(iter(loader))."
            )
    return None


def _unequal(failed: FailedRun) -> str:
    lengths = {
        failed.names[key]: len(leaf)
        for key, leaf in named(failed.args, failed.kwargs)
        if isinstance(leaf, torch.Tensor) and leaf.ndim
    }
    if len(set(lengths.values())) < 2:
        return ""
    counts = ", ".join(f"{name} has {count} rows" for name, count in lengths.items())
    return f"The arguments have unequal lengths: {counts}."


def _kinds(failed: FailedRun, attribute: str) -> str:
    tensors = dict(_parameters(failed))
    if attribute == "dtype":
        tensors = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    return f"The parameters are {in_words(kinds_of(tensors, attribute))}. " if tensors else ""


def _parameters(failed: FailedRun) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters that the traces know, then those of modules that ran, are bound or are held by the functions."""
    params = {n: node for trace in failed.traces for n, node in nodes(trace).items() if node["type"] == "param"}
    for name, node in zip(canonical(params), params.values(), strict=True):
        yield name, unconstrained(node["value"])
    functions = (failed.pair.model, failed.pair.guide)
    for module in [*failed.modules, *bound_modules(failed.pair), *_held(functions)]:
        for name, tensor in module.named_parameters():
            yield f"{type(module).__name__}.{name}", tensor


def _held(functions: Iterable[Any]) -> list[nn.Module]:
    """Modules in the closures and partials of functions."""
    found, waiting, seen = [], list(functions), set()
    while waiting and len(seen) < 1000:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, nn.Module):
            found.append(one)
        elif isinstance(one, tuple | list):
            waiting.extend(one)
        elif callable(one):
            waiting.extend(_contents(one))
    return found


def _contents(function: Any) -> Iterator[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # a name that has no value yet
    yield from (getattr(function, name, None) for name in ("__self__", "func", "args", "fn", "__wrapped__"))
