"""Masks in every style: one reading, and what they hide may be anything."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyrovae as pv
from pyrovae.pairs.lawful_values import filled, lawful_value
from pyrovae.pairs.masks import hides_a_part, mask_of
from pyrovae.sampling.observed_arguments import observed_arguments
from pyrovae.sampling.sampler import Sampler

ROWS, WIDTH = 24, 3
NAN = math.nan


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CELLS = drawn(ROWS, WIDTH, seed=3) > -0.4
ROW_MASK = CELLS[:, 0]
X = drawn(ROWS, WIDTH, seed=1)
ORIGIN = torch.zeros(2, dtype=torch.float64)


# --- the reading --------------------------------------------------------------------------------------
def normal(*shape: int):
    return dist.Normal(torch.zeros(shape), 1.0)


none, rows, cells, column = torch.zeros(4, 3).bool(), torch.tensor([True, False, True, True]), torch.eye(4, 3) > 0, None
STYLES = {
    "none": (normal(4, 3).to_event(1), None, None),
    "true": (normal(4, 3).mask(True).to_event(1), True, None),
    "false": (normal(4, 3).to_event(1), False, none),
    "tensor of false": (normal(4, 3).to_event(1), torch.tensor(False), none),
    "false inside": (normal(4, 3).mask(False).to_event(1), None, none),
    "tensor of false inside": (normal(4, 3).mask(torch.tensor(False)).to_event(1), None, none),
    "rows": (normal(4, 3).to_event(1), rows, rows[:, None].expand(4, 3)),
    "rows inside": (normal(4, 3).to_event(1).mask(rows), None, rows[:, None].expand(4, 3)),
    "cells": (normal(4, 3).mask(cells).to_event(1), None, cells),
    "a column": (normal(4, 3).mask(cells[1]).to_event(1), None, cells[1].expand(4, 3)),
    "both": (normal(4, 3).mask(cells).to_event(1), rows, cells & rows[:, None]),
    "both, one false": (normal(4, 3).mask(False).to_event(1), rows, none),
    "nested": (normal(4, 3).mask(cells).to_event(1).mask(rows), torch.tensor(True), cells & rows[:, None]),
    "expanded": (normal(3).mask(cells[1]).to_event(1).expand([4]), None, cells[1].expand(4, 3)),
    "expanded, then masked": (normal(3).expand([4, 3]).mask(cells), rows[:, None], cells & rows[:, None]),
    "plates": (normal(4, 3), rows[:, None], rows[:, None].expand(4, 3)),
}


@pytest.mark.parametrize("style", STYLES)
def test_one_reading(style):
    fn, mask, expected = STYLES[style]
    node = {"fn": fn, "mask": mask, "value": torch.zeros(4, 3)}
    found = mask_of(node)
    assert (found is None) == (expected is None)
    assert found is None or (torch.equal(found, expected) and found.shape == (4, 3))
    assert hides_a_part(node) == (expected is not None and not bool(expected.all()))
    # What Pyro itself leaves of a log-probability.
    score = torch.ones(4, 3) if expected is None else expected.float()
    plain = normal(4, 3).log_prob(torch.zeros(4, 3)) * score
    kept = poutine.trace(poutine.mask(lambda: pyro.sample("x", fn), mask=True if mask is None else mask)).get_trace()
    kept.nodes["x"]["value"] = torch.zeros(4, 3)
    kept.compute_log_prob()
    torch.testing.assert_close(kept.nodes["x"]["log_prob"].sum(), plain.sum())


SUPPORTS = {
    "normal": dist.Normal(0.0, 1.0).expand([3]),
    "gamma": dist.Gamma(2.0, 1.0).expand([3]),
    "beta": dist.Beta(torch.full((3,), 2.0), 2.0),
    "uniform": dist.Uniform(torch.tensor([1.0, 2.0, -3.0]), 5.0),
    "poisson": dist.Poisson(torch.ones(3)),
    "binomial": dist.Binomial(4, torch.full((3,), 0.5)),
    "bernoulli": dist.Bernoulli(torch.full((3,), 0.5)),
    "categorical": dist.Categorical(torch.ones(3, 4) / 4),
    "one-hot": dist.OneHotCategorical(torch.ones(2, 3) / 3),
    "dirichlet": dist.Dirichlet(torch.ones(2, 3)),
    "multivariate": dist.MultivariateNormal(torch.zeros(2, 3), torch.eye(3)),
    "lognormal": dist.LogNormal(torch.zeros(3), 1.0),
}


@pytest.mark.parametrize("family", SUPPORTS)
@pytest.mark.parametrize("bad", [NAN, math.inf, -1.0, 0.0, 7.5])
def test_what_has_no_density_gives_way_under_a_mask_alone(family, bad):
    fn = SUPPORTS[family]
    hidden = torch.zeros(fn.batch_shape, dtype=torch.bool)
    hidden[..., :1] = True
    value = fn.sample()
    given = torch.where(hidden.reshape(*hidden.shape, *[1] * fn.event_dim), torch.tensor(bad), value)
    if family == "categorical":
        given = given.nan_to_num(-1, -1, -1).long()
    masked = filled(lambda: pyro.sample("x", fn.mask(~hidden), obs=given))
    trace = poutine.trace(masked).get_trace()
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["x"]["log_prob"], torch.where(hidden, 0.0, fn.log_prob(value)))
    held = trace.nodes["x"]["value"]
    assert bool(torch.isfinite(fn.log_prob(held)).all())
    assert held.dtype == given.dtype
    assert bool(fn.support.check(lawful_value(fn, held)).all())


# --- a pair whose answer without the masked part is known -----------------------------------------------
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.write = torch.nn.Linear(WIDTH, 4).double(), torch.nn.Linear(2, WIDTH).double()
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(0.3 * drawn(*parameter.shape, seed=number))


def made(observe, hides) -> pv.Pair:
    """A pair that observes x by `observe(loc, x, seen)`; its encoder sees what is there."""
    pyro.clear_param_store()
    net = Net()

    def model(x, seen):
        pyro.module("write", net.write)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(ORIGIN, 1.0).to_event(1))
            observe(net.write(z), x, seen)

    def guide(x, seen):
        pyro.module("read", net.read)
        loc, scale = net.read(torch.where(hides(x, seen), x, 0.0)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(model, guide)


def by_cell(loc, x, seen):
    pyro.sample("x", dist.Normal(loc, 0.5).mask(seen).to_event(1), obs=x)


def by_row(loc, x, seen):
    with poutine.mask(mask=seen[:, 0]):
        pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


def by_inner_row(loc, x, seen):
    pyro.sample("x", dist.Normal(loc, 0.5).to_event(1).mask(seen[:, 0]), obs=x)


def by_column(loc, x, seen):
    for column in range(WIDTH):
        with poutine.mask(mask=column > 0):
            pyro.sample(f"x_{column}", dist.Normal(loc[:, column], 0.5), obs=x[:, column])


def counts(loc, x, seen):
    pyro.sample("x", dist.Poisson(loc.exp()).mask(seen).to_event(1), obs=x)


def intervals(loc, x, seen):
    pyro.sample("x", dist.Beta(loc.exp(), 2.0).mask(seen).to_event(1), obs=x)


def every(x, seen):
    return seen


def of_rows(x, seen):
    return seen[:, :1].expand(x.shape)


def without_first(x, seen):
    return torch.tensor([False, True, True]).expand(x.shape)


PAIRS = {
    "cell": (by_cell, every, X),
    "row": (by_row, of_rows, X),
    "inner row": (by_inner_row, of_rows, X),
    "column": (by_column, without_first, X),
    "counts": (counts, every, (X.exp()).round()),
    "intervals": (intervals, every, X.sigmoid()),
}
pairs = pytest.mark.parametrize("name", PAIRS)


def with_hidden(name: str, bad: float) -> torch.Tensor:
    _, hides, x = PAIRS[name]
    return torch.where(hides(x, CELLS), x, bad)


def crps(pair, *data) -> torch.Tensor:
    """Of all rows, those without any element as -1."""
    return torch.stack([one.crps.nan_to_num(-1) for one in pv.calibration(pair, *data, draws=20, seed=0).values()])


ASKS = {
    "elbo": lambda p, *a: pv.elbo(p, *a, seed=0),
    "evidence": lambda p, *a: pv.log_evidence(p, *a, draws=8, seed=0),
    "psis": lambda p, *a: pv.psis(p, *a, draws=32, seed=0),
    "rate": lambda p, *a: pv.rate_distortion(p, *a, seed=0)[:3],
    "gap": lambda p, *a: pv.inference_gap(p, *a, draws=8, steps=2, seed=0),
    "information": lambda p, *a: pv.mutual_information(p, *a, queries=8, seed=0),
    "annealed": lambda p, *a: pv.ais(p, *a, chains=2, steps=3, seed=0),
    "encode": lambda p, *a: pv.encode(p, *a, seed=0),
    "predictive": lambda p, *a: pv.posterior_predictive(p, *a, draws=4, seed=0),
    "likelihood": lambda p, *a: pv.log_likelihood(p, *a, draws=4, seed=0),
    "uncertainty": lambda p, *a: {k: v.nats for k, v in pv.uncertainty(p, *a, draws=4, seed=0).items()},
    "calibration": lambda p, *a: crps(p, *a),
    "novelty": lambda p, *a: [one.score for one in pv.novelty(p, *a, calibration=a, seed=0) if one is not None],
    "resemblance": lambda p, *a: pv.resemblance(p, *a, seed=0)[1],
    "findings": lambda p, *a: pv.check_pair(p, *a),
}


def numbers(found) -> list[torch.Tensor]:
    if isinstance(found, torch.Tensor | float | int):
        return [torch.as_tensor(found, dtype=torch.float64)]
    parts = found.values() if isinstance(found, dict) else found
    return [one for part in parts if part is not None for one in numbers(part)]


@pairs
@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.filterwarnings("ignore:.*epistemic part is NaN")
def test_what_is_hidden_changes_no_figure(name, ask):
    observe, hides, x = PAIRS[name]
    found = [numbers(ASKS[ask](made(observe, hides), one, CELLS)) for one in (x, with_hidden(name, NAN))]
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert not bool(one.isnan().any())


@pairs
@pytest.mark.parametrize("staged", [False, "traced"])
@pytest.mark.parametrize("bad", [NAN, -1.0])
def test_what_is_hidden_changes_no_training(name, staged, bad):
    observe, hides, x = PAIRS[name]
    ends = []
    for one in (x, with_hidden(name, bad)):
        pair = made(observe, hides)
        run = pv.fit(
            pair, (one, CELLS), epochs=2, batch_size=8, validation=(one[:8], CELLS[:8]), seed=0, staged=staged,
            progress=False,
        )  # fmt: skip
        last = run.history[-1]
        ends.append([last.elbo, last.validation_elbo, *(one.sum().item() for one in pair_parameters())])
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)
    assert all(map(math.isfinite, ends[1]))


def pair_parameters() -> list[torch.Tensor]:
    return [value for _, value in sorted(pyro.get_param_store().named_parameters())]


@pytest.mark.slow
def test_masking_a_column_is_dropping_it():
    def dropped(loc, x, seen):
        for column in range(1, WIDTH):
            pyro.sample(f"x_{column}", dist.Normal(loc[:, column], 0.5), obs=x[:, column])

    masked, without = made(by_column, without_first), made(dropped, without_first)
    holed = with_hidden("column", NAN)
    for ask in ("evidence", "annealed", "gap", "elbo"):
        for one, other in zip(
            numbers(ASKS[ask](masked, holed, CELLS)), numbers(ASKS[ask](without, X, CELLS)), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_the_exact_evidence_of_the_unmasked_columns():
    truth = pv.truth.LinearGaussian(drawn(WIDTH, 2, seed=7), drawn(WIDTH, seed=8), 0.5)
    part = pv.truth.LinearGaussian(truth.weight[1:], truth.mean[1:], 0.5)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(ORIGIN, 1.0).to_event(1))
            seen = torch.tensor([False, True, True])
            pyro.sample("x", dist.Normal(z @ truth.weight.T + truth.mean, 0.5).mask(seen).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", part.posterior(x[:, 1:]))

    found = pv.log_evidence(pv.Pair(model, guide), torch.where(torch.arange(WIDTH) == 0, NAN, X), draws=4, seed=0)
    torch.testing.assert_close(found.value, part.log_evidence(X[:, 1:]).to(found.value))


@pytest.mark.parametrize("mask", [False, torch.tensor(False)], ids=["python", "tensor"])
@pytest.mark.parametrize("inside", [False, True])
def test_false_is_false_in_either_writing(mask, inside):
    def observe(loc, x, seen):
        with poutine.mask(mask=True if inside else mask):
            fn = dist.Normal(loc, 0.5)
            pyro.sample("x", (fn.mask(mask) if inside else fn).to_event(1), obs=x)

    pair = made(observe, lambda x, seen: torch.zeros_like(seen))
    holed = X * NAN
    assert not bool(pv.log_likelihood(pair, holed, CELLS, draws=3, seed=0)["x"].any())
    data = pv.to_arviz(pair, holed, CELLS, draws=3, seed=0)
    assert bool(data["observed_data"]["x"].isnull().all())
    assert not bool(data["constant_data"]["x_mask"].any())
    assert bool((crps(pair, holed, CELLS) == -1).all())


def test_labels_that_are_not_known_may_be_anything():
    def model(x, label):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(ORIGIN, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) * torch.ones(WIDTH), 0.5).to_event(1), obs=x)
            pyro.sample("y", dist.Normal(z[:, 0], 0.5), obs=label, obs_mask=~label.isnan())

    def guide(x, label):
        share = pyro.param("share", torch.tensor(0.4, dtype=torch.float64))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(share * x[:, :2], 0.5).to_event(1))
            with poutine.mask(mask=label.isnan()):
                pyro.sample("y_unobserved", dist.Normal(z[:, 0], 0.5))

    pyro.clear_param_store()
    pair, label = pv.Pair(model, guide), torch.where(ROW_MASK, X[:, 1], NAN)
    pv.fit(pair, (X, label), epochs=1, batch_size=8, seed=0, progress=False)
    assert math.isfinite(pyro.param("share").item())
    found = pv.log_evidence(pair, X, label, draws=4000, seed=0)
    known = pv.log_evidence(pair, X[ROW_MASK], label[ROW_MASK], draws=4000, seed=1)
    assert bool(torch.isfinite(found.value).all())
    assert bool(((found.value[ROW_MASK] - known.value).abs() < 5 * (known.error + found.error[ROW_MASK])).all())


def test_holes_that_no_mask_hides_are_refused_before_the_first_step():
    pair = made(lambda loc, x, seen: by_cell(loc, x, torch.tensor(True)), every)
    with pytest.raises(pv.DataError, match="NaN or infinity in"):
        pv.fit(pair, (with_hidden("cell", NAN), CELLS), epochs=1, progress=False)


def test_values_are_put_into_arguments_with_holes():
    observe, hides, _ = PAIRS["counts"]
    holed = with_hidden("counts", -1.0)
    sampler = Sampler.of(made(observe, hides), (holed, CELLS), {}, seed=0)
    assert observed_arguments(sampler) == {0}
    found = pv.simulation_based_calibration(made(observe, hides), holed, CELLS, simulations=4, draws=9, seed=0)
    assert set(found.sites) == {"z"}
    generated = pv.generate_with_uncertainty(made(observe, hides), holed, CELLS, draws=(1, 3), seed=0)
    assert not bool(generated.values["x"].isnan().any())


def test_a_hole_that_no_mask_hides_is_found_behind_thousands_that_one_hides():
    x = torch.randn(2_000, WIDTH, dtype=torch.float64)
    x[::2, 0] = NAN
    hides = torch.arange(WIDTH) > 0
    pair = made(lambda loc, x, seen: by_cell(loc, x, hides), lambda x, seen: hides)
    pv.fit(pair, (x, torch.ones_like(x).bool()), steps=1, batch_size=8, progress=False)
    x[::20, 1] = NAN
    with pytest.raises(pv.DataError, match="NaN or infinity in"):
        pv.fit(pair, (x, torch.ones_like(x).bool()), steps=1, batch_size=8, progress=False)
