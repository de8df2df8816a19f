"""Clauses that need the pair to run again: on moved data, and from other random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyro
import torch
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample

from pyrovae.checks.finding import Finding
from pyrovae.checks.traced_pair import TracedPair, listed, log_prob, nodes, replayed_model, tensors
from pyrovae.pairs.by_row import ByRow, moving_with_others
from pyrovae.pairs.declared import declared
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.known_support import known_support
from pyrovae.pairs.lawful_values import given_value
from pyrovae.pairs.looks.isolation import restart
from pyrovae.pairs.pair import guide_function
from pyrovae.pairs.part_observed import without_masks
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.trace import rows_moved, samples


def reads_only_by_obs(traced: TracedPair) -> Iterator[Finding]:
    """With all values fixed, no distribution of the model moves when observed data change places."""
    if declared(traced.pair, "reads_observed"):
        return
    for key, leaf in tensors(traced):
        try:
            if len(leaf) < 2 or not _is_observed(traced, key, leaf):
                continue
            before = _with_fixed_values(traced, key, leaf)
            after = _with_fixed_values(traced, key, leaf.roll(1, dims=0))
        except Exception:  # a pair may refuse, in its own way, rows of arguments that do not go together
            continue
        names = [name for name, node in after.items() if name in before and _moved(node, before[name])]
        if names:
            yield Finding(
                "reads-observed",
                "warning",
                f"in the model the distribution of {listed(names)} moves when the observed argument "
                f"{traced.names[key]!r} does: the model reads it other than by obs= and its length, so that draws from "
                "the prior would hold the test data. Take what the model needs as an argument of its own; or, if that "
                "is meant (a library size, an autoregressive decoder), declare it on the model function: "
                "model.reads_observed = True.",
                traced.names[key],
            )


def _is_observed(traced: TracedPair, key: int | str, leaf: torch.Tensor) -> bool:
    """Whether an observed value is this argument, in any form that keeps its rows: cast, scaled, a column of it."""
    model = _traced(traced, replayed_model(traced.pair, traced.traces.guide), key, leaf.roll(1, dims=0))
    before, after = (
        {name: given_value(nodes(trace)[name]) for name in traced.structure.named("observed")}
        for trace in (traced.traces.model, model)
    )
    return rows_moved(before, after, {})


def _traced(traced: TracedPair, model: Callable[..., Any], key: int | str, leaf: torch.Tensor) -> Trace:
    """A run of the model with another argument, and the same random numbers each time."""
    args = tuple(leaf if place == key else one for place, one in enumerate(traced.args))
    kwargs = {name: leaf if name == key else one for name, one in traced.kwargs.items()}
    restart(1)
    return pyro.poutine.trace(model).get_trace(*args, **kwargs)


def _with_fixed_values(traced: TracedPair, key: int | str, leaf: torch.Tensor) -> dict[str, dict]:
    """The model's sites on other data: every value, observed ones too, and the choice of rows as before.

    What depends on an observed value depends on it in any direction, so those are held as well. The random
    numbers are the same each time, for models that draw without a site.
    """
    rows = Trace()
    for name, node in traced.traces.model.nodes.items():
        if node["type"] == "sample" and site_is_subsample(node):  # pyright: ignore[reportTypedDictNotRequiredAccess]
            rows.add_node(name, **node)
    values = {name: node["value"] for name, node in samples(traced.traces.model)}
    model = pyro.poutine.condition(traced.pair.model, data={k: v for k, v in values.items() if v is not None})
    return dict(samples(_traced(traced, pyro.poutine.replay(model, trace=rows), key, leaf)))


def _moved(node: Mapping, before: Mapping) -> bool:
    """Another log-probability of the same value: enough to tell, since that value is an ordinary draw."""
    if type(before["fn"]).__name__ == "Unit" or is_deterministic(before):
        return False
    with torch.no_grad():
        # Without masks inside, which follow the holes of the data and not their values.
        now, then = (log_prob({**one, "fn": without_masks(one["fn"])}, before["value"]) for one in (node, before))
    if isinstance(now, Exception) or isinstance(then, Exception):
        return False
    return now.shape != then.shape or not torch.allclose(now, then, rtol=1e-4, atol=1e-5, equal_nan=True)


def reads_no_other_rows(traced: TracedPair) -> Iterator[Finding]:
    """What is local to a row is the same whichever other rows are in the batch."""
    plate = traced.structure.data_plate
    if plate is None:
        return
    fixed = FixedPlate(traced.pair, plate)
    moving = moving_with_others(fixed, traced.args, traced.kwargs, ByRow(traced.traces, plate))
    if moving.found and not moving.ordered:
        names = [*dict.fromkeys(name for _, name in moving.found)]
        yield Finding(
            "reads-other-rows",
            "warning",
            f"the distribution of {listed(names)} in a row moves with the other rows of the batch (a mean over the "
            "batch, say, or a total_count that is the largest in it): no figure of a single row has a meaning of its "
            "own, and evidence, novelty or predictions differ with the company. Compute what rows share beforehand, "
            "and give it as an argument or keep it in a buffer.",
            names[0],
        )


# --- random numbers -------------------------------------------------------------------------------------
def fresh_noise(traced: TracedPair) -> Iterator[Finding]:
    """Other random numbers before a run give other ones after it, and other draws."""
    ends: dict[str, list[torch.Tensor]] = {"guide": [], "model": []}
    runs = []
    for seed in (1, 2):
        restart(seed)
        guide = pyro.poutine.trace(guide_function(traced.pair)).get_trace(*traced.args, **traced.kwargs)
        ends["guide"].append(torch.get_rng_state())
        restart(seed)
        pyro.poutine.trace(replayed_model(traced.pair, guide)).get_trace(*traced.args, **traced.kwargs)
        ends["model"].append(torch.get_rng_state())
        runs.append(guide)
    seeded = [side for side, (first, second) in ends.items() if torch.equal(first, second)]
    frozen = [name for name, node in samples(runs[0]) if _frozen(node, nodes(runs[1]).get(name))]
    if seeded or frozen:
        what = (
            f"the {' and the '.join(seeded)} set the seed of all random numbers"
            if seeded
            else f"the guide draws {listed(frozen)} from a fixed seed"
        )
        yield Finding(
            "fixed-seed",
            "warning",
            f"{what} at every run: each step would see the same noise. Take the seed out of the function "
            "(pyro.set_rng_seed, torch.manual_seed); fit(seed=...) fixes that of a whole training.",
            frozen[0] if frozen else seeded[0],
        )


def _frozen(node: Mapping, other: Mapping | None) -> bool:
    """The same draw twice of something continuous that is not certain."""
    value = node["value"]
    if other is None or node["is_observed"] or not value.is_floating_point() or not torch.equal(value, other["value"]):
        return False
    with torch.no_grad():
        first, second = node["fn"].sample(), node["fn"].sample()
    return not known_support(node["fn"]).is_discrete and not torch.equal(first, second)
