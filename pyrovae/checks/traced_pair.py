"""What the clauses look at: one run of a pair, seen from outside, and what they say of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine.runtime import _DIM_ALLOCATOR
from pyro.poutine.trace_struct import Trace
from torch import nn

from pyrovae.errors import PyrovaeError
from pyrovae.pairs.lawful_values import filled
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.looks.state_keeper import StateKeeper
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import Traces, run, samples, with_rows


class TracedPair(NamedTuple):
    """One run of the pair in eval mode, and what is needed to run it again."""

    pair: HasPair
    args: tuple
    kwargs: Mapping[str, Any]
    names: Mapping[int | str, str]  # position or key -> the argument's name in the model's signature
    traces: Traces
    other: Traces | None  # a run with another number of rows, where the pair takes one
    structure: Structure
    modules: list[nn.Module]
    rows: int | None
    dataset_size: int | None
    validated: frozenset[tuple[str, str]]  # (side, site) whose distribution checks its values
    scores: Mapping[tuple[str, str], torch.Tensor | Exception]  # log-probabilities, or why there is none

    def sites(self) -> Iterator[tuple[str, str, dict]]:
        """Every sample site that is one: side, name, node; factors and deterministic ones left out."""
        for side, trace in (("guide", self.traces.guide), ("model", self.traces.model)):
            for name, node in samples(trace):
                if self.structure.sites[name].role not in ("deterministic", "factor"):
                    yield side, name, node

    def shared(self) -> Iterator[tuple[str, dict, dict]]:
        """Latent sites that both sides draw: name, the guide's node, the model's node."""
        for name, node in samples(self.traces.guide):
            other = nodes(self.traces.model).get(name)
            if other is not None and other["type"] == "sample" and not other["is_observed"]:
                yield name, node, other


# --- running ------------------------------------------------------------------------------------------
@contextmanager
def in_isolation() -> Iterator[StateKeeper]:
    """Run a pair so that it sees nothing of the caller, who sees nothing of it; the same numbers each time.

    Returns:
        The modules that are called, as they are.
    """
    taken, _DIM_ALLOCATOR._stack = _DIM_ALLOCATOR._stack, []  # plates around the caller take no dim of ours
    try:
        with (
            isolated(0) as called,
            warnings.catch_warnings(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            warnings.simplefilter("ignore")
            yield called
    finally:
        _DIM_ALLOCATOR._stack = taken


def traced_until_error(
    function: Callable[..., Any], args: tuple, kwargs: Mapping[str, Any]
) -> tuple[Trace, Exception | None]:
    """Trace a function; where it raises, what it had done by then, and why.

    Pyro's own `get_trace` would write every shape into the message of the exception.
    """
    tracer = pyro.poutine.trace()
    try:
        with tracer:
            function(*args, **kwargs)
    except PyrovaeError:
        raise  # it says in words what is wrong already
    except Exception as error:
        return tracer.trace, error
    return tracer.trace, None


def replayed_model(pair: HasPair, guide: Trace) -> Callable[..., Any]:
    """The pair's model with the values that the guide drew."""
    return filled(pyro.poutine.replay(pair.model, trace=guide))


def with_other_rows(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], rows: int | None) -> Traces | None:
    """A run with one row less, or with two rows where there is one; None where the pair cannot."""
    if rows is None:
        return None
    try:
        return run(pair, *with_rows(args, kwargs, rows - 1 if rows > 1 else rows + 1))
    except Exception:
        return None


def nodes(trace: Trace) -> dict[str, dict[str, Any]]:
    """Every node of a trace, as the plain dicts that they are in a finished run."""
    return {name: dict(node) for name, node in trace.nodes.items()}


# --- log-probabilities --------------------------------------------------------------------------------
def log_prob(node: Mapping[str, Any], value: Any = None) -> torch.Tensor | Exception:
    """A site's log-probability of its own or another value, unchecked and with its whole graph.

    Returns:
        One number a row, unscaled, masked ones 0; or the exception that it raised.
    """
    value = node["value"] if value is None else value
    value = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    # Flows answer from a cache where the value is the same object: right for their own draws, which some of them could
    # not invert, but for data that were trained on the cache may hold a graph that is gone.
    value = value.clone() if node["is_observed"] else value
    with unchecked(node["fn"]):
        try:
            return scale_and_mask(node["fn"].log_prob(value), mask=node["mask"])
        except PyrovaeError:
            raise
        except Exception as error:
            return error


@contextmanager
def unchecked(fn: Any) -> Iterator[None]:
    """Switch off the validation of a distribution and of those inside it: it may be set on each object."""
    inside = list(_nested(fn))
    before = [vars(one).get("_validate_args") for one in inside]
    for one in inside:
        one._validate_args = False
    try:
        yield
    finally:
        for one, flag in zip(inside, before, strict=True):
            if flag is None:
                del one._validate_args
            else:
                one._validate_args = flag


def _nested(fn: Any) -> Iterator[Any]:
    waiting, seen = [fn], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if hasattr(one, "_validate_args") and hasattr(one, "__dict__"):
            waiting.extend(vars(one).values())
            if not isinstance(getattr(type(one), "_validate_args", None), property):  # Pyro's Independent asks inside
                yield one
        elif isinstance(one, list | tuple):
            waiting.extend(one)


# --- words --------------------------------------------------------------------------------------------
def listed(names: Iterable[Any], limit: int = 6) -> str:
    """Some of the names in quotes, and how many more there are."""
    names = [f"{name!r}" if isinstance(name, str) else str(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def short(kind: Any) -> str:
    """`float32` for `torch.float32`, `cpu` for the device."""
    return str(kind).removeprefix("torch.")


def named(args: tuple, kwargs: Mapping[str, Any]) -> list[tuple[int | str, Any]]:
    """Every argument under its position or key."""
    return [*enumerate(args), *kwargs.items()]


def tensors(traced: TracedPair) -> list[tuple[int | str, torch.Tensor]]:
    """The arguments that are tensors with rows, under position or key."""
    return [
        (key, leaf) for key, leaf in named(traced.args, traced.kwargs) if isinstance(leaf, torch.Tensor) and leaf.ndim
    ]


def described(args: tuple, kwargs: Mapping[str, Any], names: Mapping[int | str, str]) -> str:
    """The data in words: every argument with shape, type and device."""
    parts = [f"{names.get(key, key)} of {_leaf(leaf)}" for key, leaf in named(args, kwargs)]
    return ", ".join(parts) or "no data"


def _leaf(leaf: Any) -> str:
    if isinstance(leaf, torch.Tensor):
        return f"shape {tuple(leaf.shape)} ({short(leaf.dtype)}, {leaf.device})"
    return f"type {type(leaf).__name__}"
