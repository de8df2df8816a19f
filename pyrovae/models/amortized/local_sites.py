"""A look at a model: which latent sites its rows have, in which plates, and what each depends on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.known_support import is_angle, known_support
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.looks.state_keeper import eval_mode
from pyrovae.pairs.masks import mask_of


class LatentSite(NamedTuple):
    """A latent site of a model, as one look found it.

    Attributes:
        name: the site's name.
        support: where its values lie.
        batch_shape: of its distribution.
        event_shape: likewise.
        frames: of the plates around it that have a dimension, outermost first.
        mask: which elements of its batch count; None for all.
        scale: what its author scales it by, plates left out.
        discrete: whether it takes separate values.
        enumerated: whether the model sums it out.
    """

    name: str
    support: Any
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    frames: tuple[Any, ...]
    mask: Any
    scale: Any
    discrete: bool
    enumerated: bool


class Look(NamedTuple):
    """What one run of a model has shown."""

    latent: dict[str, LatentSite]
    observed: tuple[str, ...]
    parents: dict[str, tuple[str, ...]]  # of each latent site; empty where nobody asked


class _Still(Messenger):
    """Gives every latent site a value of its support, so that a look at a model draws nothing."""

    def __init__(self, like: Tensor, *, tracked: bool):
        super().__init__()
        self.like, self.tracked = like, tracked
        self.parents: dict[str, tuple[str, ...]] = {}

    def _pyro_sample(self, msg) -> None:
        if msg["is_observed"] or msg["value"] is not None:
            return
        fn = msg["fn"]
        if site_is_subsample(msg):
            msg["value"] = torch.arange(fn.size if fn.subsample_size is None else fn.subsample_size)
        else:
            msg["value"] = _value(fn, self.like)
        msg["done"] = True

    def _pyro_post_sample(self, msg) -> None:
        if not self.tracked or site_is_subsample(msg) or msg["is_observed"]:
            return
        value, name = detach_provenance(msg["value"]), msg["name"]
        self.parents[name] = tuple(sorted(get_provenance(msg["fn"].log_prob(value))))
        msg["value"] = track_provenance(value, frozenset({name}))


def _value(fn: Any, like: Tensor) -> Tensor:
    """A value in the middle of a support."""
    if getattr(fn, "has_enumerate_support", False):
        return fn.enumerate_support(expand=False)[0].expand(fn.batch_shape + fn.event_shape)
    support = _support(fn)
    if support.is_discrete:
        return fn.sample()
    transform = biject_to(support)
    return transform(torch.zeros(transform.inverse_shape(fn.batch_shape + fn.event_shape)).to(like))


def _support(fn: Any) -> Any:
    support = known_support(fn)
    if is_angle(fn):
        # Its density repeats on all real numbers: a guide that spread over several rounds would gain without end.
        return constraints.independent(constraints.interval(-math.pi, math.pi), len(fn.event_shape))
    # A mixture lies where its components do.
    return support.base_constraint if type(support).__name__ == "MixtureSameFamilyConstraint" else support


def look_at(
    model: Callable[..., Any],
    args: tuple,
    kwargs: Mapping[str, Any],
    like: Tensor,
    *,
    tracked: bool = False,
    drawn: bool = False,
) -> Look:
    """Run a model in eval mode, on values that are not drawn, apart from all handlers around.

    Args:
        model: any.
        args: the batch.
        kwargs: likewise.
        like: a tensor of the type and on the device that values are to have.
        tracked: whether to find out what each latent site depends on.
        drawn: draw the values after all; the random numbers are given back.
    """
    still = _Still(like, tracked=tracked)
    with torch.no_grad(), poutine.block(), eval_mode(restores=False) as keeper, forked_random() if drawn else still:
        keeper.keep(model)
        trace = poutine.trace(model).get_trace(*args, **kwargs)
    latent, observed = {}, []
    for name, node in trace.nodes.items():
        if node["type"] != "sample" or site_is_subsample(node) or type(node["fn"]).__name__ == "Unit":
            continue
        if node["is_observed"]:
            observed.append(name)
        elif type(base_of(node["fn"])).__name__ == "Delta":
            raise PairError(
                f"AmortizedGuide: the site {name!r} has a Delta, under which no draw of a guide has a density; write "
                f"pyro.deterministic({name!r}, value) in the model."
            )
        else:
            latent[name] = _site(name, node)
    return Look(latent, tuple(observed), still.parents)


def _site(name: str, node: Any) -> LatentSite:
    fn = node["fn"]
    stack = [frame for frame in node["cond_indep_stack"] if frame.dim is not None]
    scale = node["scale"] / math.prod((frame.full_size or frame.size) / frame.size for frame in stack)
    mask = mask_of({**node, "value": detach_provenance(node["value"])})
    events = len(fn.event_shape)
    if mask is not None and events:
        mask = mask.flatten(-events)[..., 0]
    support = _support(fn)
    return LatentSite(
        name, support, tuple(fn.batch_shape), tuple(fn.event_shape), tuple(stack), mask, scale,
        discrete=bool(getattr(base_of(fn), "has_enumerate_support", False) or support.is_discrete),
        enumerated=node["infer"].get("enumerate") in ("parallel", "sequential"),
    )  # fmt: skip


def is_local(site: LatentSite, plate: str) -> bool:
    """Whether a site belongs to a row."""
    return any(frame.name == plate for frame in site.frames)


def data_plate_of(look: Look, rows: int, named: str | None) -> str:
    """The plate that holds the rows: the one of their number.

    Raises:
        ArgumentError: none is, or several are.
    """
    frames = {f.name: f for site in look.latent.values() if not site.enumerated for f in site.frames}
    if named is not None:
        if named not in frames:
            there = _listed(list(frames))
            raise ArgumentError(
                f"AmortizedGuide: data_plate={named!r} is no plate of a latent site; there are {there}."
            )
        return named
    fitting = [name for name, frame in frames.items() if rows in (frame.size, frame.full_size)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ArgumentError(
            f"AmortizedGuide: several plates have {rows} rows: {_listed(fitting)}. Say which holds the data: "
            f"data_plate={fitting[0]!r}, for example."
        )
    if unsized := [name for name, frame in frames.items() if frame.size < 0]:
        return unsized[0]
    raise ArgumentError(
        f"AmortizedGuide: the encoder gives {rows} rows of features, and no latent site of the model is in a plate of "
        f"that length (there are {_listed(list(frames))}). Give one row of features for each datum; where the rows "
        "share all latent sites, pyro.infer.autoguide.AutoNormal is the guide."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
