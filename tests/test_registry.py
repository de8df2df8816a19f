"""The registry itself: every pair trains under plain Pyro, and its traits are what a trace shows."""

from __future__ import annotations

import re
from contextlib import nullcontext

import pyro
import pytest
import registry
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from registry import REGISTRY, ROWS, arguments, pairs, rows, takes_all_rows
from torch import nn

from pyrovae.pairs.masks import mask_of
from pyrovae.pairs.pair import Pair

every_pair = pytest.mark.parametrize("entry", pairs())
BATCH = 8


def leaves(data) -> list[torch.Tensor]:
    positional, named = arguments(data)
    return [*positional, *named.values()]


def batches(entry, data):
    """Batches of 8 rows for ever; all rows for a pair that draws its own."""
    while True:
        for index in torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)).split(BATCH):
            yield data if takes_all_rows(entry) else rows(data, index)


def traces(pair, data):
    """One trace of the guide, one of the model replayed against it."""
    positional, named = arguments(data)
    guide = poutine.trace(pair.guide).get_trace(*positional, **named)
    model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*positional, **named)
    return guide, model


def sites(trace):
    """The sample sites that are neither plates nor deterministic nor factors."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and type(site["fn"]).__name__ not in ("_Subsample", "Unit")
        and not site["infer"].get("_deterministic")
        and not _is_computed(site)
    }


def _is_computed(site) -> bool:
    """Whether a site holds what a reparametrisation computes of others."""
    return site["is_observed"] and isinstance(getattr(site["fn"], "base_dist", None), Delta)


def modules_of(function) -> list[nn.Module]:
    """Every module that a function reaches by itself, its closure, its arguments or its object."""
    found, queue, seen = [], [function], set()
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, nn.Module):
            found.append(one)
        elif isinstance(one, tuple | list | dict):
            queue.extend(one.values() if isinstance(one, dict) else one)
        elif callable(one):
            queue.extend(cell.cell_contents for cell in getattr(one, "__closure__", None) or ())
            held = ("__self__", "func", "args", "keywords", "fn", "msngr", "wrapped")
            queue.extend(getattr(one, name, None) for name in held)
    return found


def stored(pair) -> dict[str, torch.Tensor]:
    """The constrained values in Pyro's store, as the pair sees it."""
    with pair.entries() if hasattr(pair, "entries") else nullcontext():
        return dict(pyro.get_param_store().items())


@every_pair
def test_it_trains_under_plain_svi(entry):
    pair, data = entry.make()
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), entry.loss())
    losses, before = [], {}
    for step, batch in zip(range(20), batches(entry, data), strict=False):
        positional, named = arguments(batch)
        losses.append(svi.step(*positional, **named))
        if step == 0:
            before = {name: value.detach().clone() for name, value in stored(pair).items()}
    after = stored(pair)
    assert torch.tensor(losses).isfinite().all()
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    assert before


@every_pair
def test_its_sites_are_those_it_names(entry):
    pair, data = entry.make()
    guide, model = (sites(one) for one in traces(pair, data))
    observed = {name for name, site in model.items() if site["is_observed"]}
    assert observed == {*entry.observed}
    assert model.keys() - observed == {*entry.latent, *entry.global_sites}
    assert guide.keys() == entry.guide_sites
    assert not any(site["is_observed"] for site in guide.values())
    marked = {name for name, site in guide.items() if site["infer"].get("is_auxiliary")}
    assert marked == {*entry.auxiliary}
    assert bool(entry.auxiliary) == ("auxiliary" in entry.traits)
    assert bool(entry.global_sites) == ("global" in entry.traits)
    assert (not entry.latent and not entry.global_sites) == ("no_latent" in entry.traits)


@every_pair
def test_its_local_sites_stand_in_the_data_plate_and_its_global_ones_outside(entry):
    pair, data = entry.make()
    model = sites(traces(pair, data)[1])
    stacks = {name: {frame.name for frame in site["cond_indep_stack"]} for name, site in model.items()}
    plates = set.intersection(*(stacks[name] for name in {*entry.latent, *entry.observed} - {*entry.beside_rows}))
    plate = plates & {"data", "documents", "cells", "sequences"}
    assert len(plate) == 1
    assert not any(plate <= stacks[name] for name in (*entry.global_sites, *entry.beside_rows))
    assert (max(map(len, stacks.values())) > 1) == ("nested" in entry.traits)


@every_pair
def test_its_plate_scale_is_that_of_its_traits(entry):
    pair, data = entry.make()
    model = sites(traces(pair, data if takes_all_rows(entry) else rows(data, slice(BATCH)))[1])
    scales = {float(site["scale"]) for name, site in model.items() if name not in entry.global_sites}
    if entry.traits & {"subsampled", "full_data"}:
        assert scales == {ROWS / BATCH}
    else:
        assert (scales != {1.0}) == ("scaled" in entry.traits)


@every_pair
def test_making_it_again_shares_nothing_but_the_data(entry):
    before = torch.get_rng_state()
    [(first, data), (second, again)] = [entry.make(), entry.make()]
    torch.set_rng_state(before)
    for one, other in zip(leaves(data), leaves(again), strict=True):
        assert torch.equal(one, other)
        assert len(one) == ROWS
        assert one.isfinite().all()
    one, other = (
        {id(value) for module in modules_of((*held,)) for value in module.parameters()}
        for held in ((first.model, first.guide), (second.model, second.guide))
    )
    assert not one & other
    assert "keywords" not in entry.traits or isinstance(data, dict)
    assert ("covariates" in entry.traits) <= (len(leaves(data)) > 1)


@every_pair
def test_its_modules_show_its_traits(entry):
    pair, data = entry.make()
    traces(pair, data)  # a PyroModule may make its modules by now
    modules = [inner for outer in modules_of((pair.model, pair.guide)) for inner in outer.modules()]
    assert any(isinstance(one, nn.Dropout) for one in modules) == ("dropout" in entry.traits)
    assert any(isinstance(one, nn.BatchNorm1d) for one in modules) == ("buffers" in entry.traits)
    assert any("AutoGuide" in str(type(one).__mro__) for one in modules) == ("autoguide" in entry.traits)
    dtypes = {value.dtype for value in stored(pair).values()}
    assert dtypes == {torch.float64 if "float64" in entry.traits else torch.float32}


@every_pair
def test_its_trace_shows_factors_masks_and_gradients(entry):
    pair, data = entry.make()
    guide, model = traces(pair, data)
    nodes = [site for site in model.nodes.values() if site["type"] == "sample"]
    kinds = {type(site["fn"]).__name__ for site in nodes}
    assert ("Unit" in kinds) == ("factor" in entry.traits)
    assert any(site["infer"].get("_deterministic") or _is_computed(site) for site in nodes) == (
        "deterministic" in entry.traits or any(name.endswith("_observed") for name in entry.observed)
    )
    stochastic = sites(model).values()
    masked = [site for site in stochastic if mask_of(site) is not None]
    assert bool(masked) == ("masked" in entry.traits)
    summed_in_guide = "enumerates" in entry.traits and not entry.enumerated
    steps = all(site["fn"].has_rsample for site in sites(guide).values())
    assert steps != ("score_function" in entry.traits or summed_in_guide)


def outer_plate_agrees(entry) -> bool:
    """Whether two draws in one outer plate have the log-probabilities that each has alone."""
    pair, data = entry.make()
    alone = traces(pair, data)
    outer = pyro.plate("outer", 2, dim=-3 if "nested" in entry.traits else -2)
    together = traces(Pair(outer(pair.model), outer(pair.guide)), data)
    for plain, both, function in zip(alone, together, (pair.guide, pair.model), strict=True):
        both.compute_log_prob()
        for draw in range(2):
            values = {"data": both.nodes["data"]["value"]} if "data" in both.nodes else {}
            for name, site in sites(plain).items():
                value = site["value"] if site["is_observed"] else both.nodes[name]["value"][draw]
                values[name] = value.reshape(site["value"].shape)
            positional, named = arguments(data)
            one = poutine.trace(poutine.condition(function, data=values)).get_trace(*positional, **named)
            one.compute_log_prob()
            for name in sites(plain):
                expected, found = one.nodes[name]["log_prob"], both.nodes[name]["log_prob"][draw]
                if not torch.allclose(found.sum(), expected.sum(), rtol=1e-4, atol=1e-3):
                    return False
    return True


@every_pair
def test_it_broadcasts_over_an_outer_plate_as_its_traits_say(entry):
    try:
        agrees = outer_plate_agrees(entry)
    except (RuntimeError, ValueError, IndexError, AssertionError, UserWarning):
        agrees = False
    assert agrees == ("broadcasts" in entry.traits)


@pytest.mark.parametrize("entry", pairs(having={"mean_field"}))
def test_mean_field_loss_is_the_same_in_expectation(entry):
    """The analytic KL is the mean of the sampled one; both run on the same 30 draws."""
    pair, data = entry.make()
    positional, named = arguments(data)
    differences = []
    for seed in range(30):
        losses = []
        for loss in (Trace_ELBO(), TraceMeanField_ELBO()):
            pyro.set_rng_seed(seed)
            losses.append(loss.loss(pair.model, pair.guide, *positional, **named))
        differences.append(losses[0] - losses[1])
    difference = torch.tensor(differences)
    assert difference.mean().abs() < 4 * difference.std() / 30**0.5 + 1e-3


@every_pair
def test_renyi_is_right_where_weights_are_those_of_one_row(entry):
    wrong = {"global", "subsampled", "full_data", "scaled", "enumerates", "score_function", "no_latent"}
    assert ("renyi_ok" in entry.traits) == (not entry.traits & wrong)
    if "renyi_ok" in entry.traits:
        pair, data = entry.make()
        positional, named = arguments(data)
        assert RenyiELBO(alpha=0.5, num_particles=2).loss(pair.model, pair.guide, *positional, **named) > 0


def test_every_trait_is_explained_and_used():
    explained = set(re.findall(r"^    (\w+) +\S", registry.__doc__.split("Traits:")[1], re.MULTILINE))
    used = set().union(*(entry.traits for entry in REGISTRY.values()))
    assert used == explained


def test_pairs_are_chosen_by_trait():
    chosen = {one.id for one in pairs(having={"global"}, without={"autoguide", "full_data"})}
    assert chosen == {"local_and_global", "product_with_global", "crossed_plates"}
    assert len(pairs()) == len(REGISTRY)
