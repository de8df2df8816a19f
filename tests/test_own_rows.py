"""Rows that belong to a pair: kept in their order, all together, and no others in their place."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
)
from registry import pairs
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pyrovae as pv
from pyrovae.checks.check_pair import findings
from pyrovae.data.batches import as_batches
from pyrovae.pairs.data_plate import find_data_plate
from pyrovae.pairs.own_rows import own_rows, remembered_rows
from pyrovae.pairs.structure import inspect
from pyrovae.pairs.trace import run

QUIET = {"progress": False, "seed": 0}
X = torch.linspace(-20, 20, 140)  # more than a batch
LONG = torch.linspace(-20, 20, 300)  # and than a tile
GUIDES = (
    AutoNormal, AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoIAFNormal,
)  # fmt: skip
PRIOR, NOISE = 10.0, 1.0


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, PRIOR))
        pyro.sample("x", dist.Normal(z, NOISE), obs=x)


def with_a_global_site(x):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(level, PRIOR))
        pyro.sample("x", dist.Normal(z, NOISE), obs=x)


def evidence(x):
    return dist.Normal(0.0, math.hypot(PRIOR, NOISE)).log_prob(x)


def sliced(x):
    loc, scale = pyro.param("loc", torch.zeros(len(X))), pyro.param("scale", torch.ones(len(X)))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc[: len(x)], scale[: len(x)].exp()))


def amortised(x, net=None):
    net = net or nn.Linear(1, 2)

    def guide(x):
        pyro.module("net", net)
        loc, scale = net(x[:, None]).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()))

    return guide


def observes(values):
    def closed(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, PRIOR))
            pyro.sample("y", dist.Normal(z + x, NOISE), obs=values)

    return closed


def open_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, PRIOR))
        pyro.sample("y", dist.Normal(z + x, NOISE))


OWNERS = {
    **{guide.__name__: lambda guide=guide: pv.Pair(model, guide(model)) for guide in GUIDES},
    **{
        f"{guide.__name__}-global": lambda guide=guide: pv.Pair(with_a_global_site, guide(with_a_global_site))
        for guide in (AutoNormal, AutoDiagonalNormal)
    },
    "parameters": lambda: pv.Pair(model, sliced),
    "closure": lambda: pv.Pair(observes(X.flip(0)), amortised(X)),
    "condition": lambda: pv.Pair(pyro.condition(open_model, data={"y": X.flip(0)}), amortised(X)),
}


@pytest.mark.parametrize("name", OWNERS)
def test_what_belongs_to_rows_is_found_and_trained_all_at_once_and_in_order(name):
    torch.manual_seed(0)
    pair = OWNERS[name]()
    assert own_rows(pair, (X,), {}, "data").count == len(X)
    with pytest.raises(pv.ArgumentError, match=r"batch_size=64: the pair has .*Leave it out.*subsample_size=64"):
        pv.fit(pair, X, epochs=1, batch_size=64, **QUIET)
    losses = [step.loss for step in pv.steps(pair, X, steps=4, learning_rate=0.01, **QUIET)]
    pyro.clear_param_store()
    torch.manual_seed(0)
    plain = OWNERS[name]()
    pyro.set_rng_seed(0)
    svi = SVI(plain.model, plain.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert losses == pytest.approx([svi.step(X) / len(X) for _ in range(4)], rel=1e-4)


@pytest.mark.parametrize("name", OWNERS)
def test_other_rows_are_refused_in_words(name):
    pair = OWNERS[name]()
    pv.fit(pair, X, epochs=2, **QUIET)
    for rows in (X[10:14], torch.cat([X, X[:20]])):
        for ask in (pv.encode, pv.elbo, pv.log_evidence, pv.rate_distortion, pv.posterior_predictive, pv.uncertainty):
            with pytest.raises(pv.PairError, match=f"{len(X)}"):
                ask(pair, rows)
    for options in ({"validation": X[:50]}, {"data": X[:50]}, {"data": DataLoader(TensorDataset(X), batch_size=50)}):
        with pytest.raises((pv.PairError, pv.ArgumentError), match=f"{len(X)}|leave it out|as arrays"):
            pv.fit(pair, **{"data": X, "epochs": 1, **options}, **QUIET)


@pytest.mark.slow
def test_figures_of_a_trained_pair_are_those_of_its_rows():
    pair, exact = pv.Pair(model, AutoNormal(model)), evidence(LONG)
    run = pv.fit(pair, LONG, epochs=700, learning_rate=pv.linear(0.3, 0.005, steps=700), **QUIET)
    assert run.history[-1].elbo == pytest.approx(float(exact.mean()), abs=0.1)
    assert pv.rate_distortion(pair, LONG, draws=20).elbo == pytest.approx(float(exact.mean()), abs=0.05)
    assert float((pv.elbo(pair, LONG, draws=50).value - exact).mean()) == pytest.approx(0, abs=0.05)
    found = pv.log_evidence(pair, LONG, draws=200)
    assert bool(((found.value - exact).abs() < 6 * found.error + 0.01).all())
    mean = LONG * PRIOR**2 / (PRIOR**2 + NOISE**2)
    assert float((pv.encode(pair, LONG)["z"].mean - mean).abs().mean()) < 0.15


@pytest.mark.slow
def test_a_plate_that_subsamples_takes_batches_of_its_rows():
    def scattered(x):
        loc = pyro.param("loc", torch.zeros(len(X)))
        with pyro.plate("data", len(X), subsample_size=len(x)) as rows:
            pyro.sample("z", dist.Normal(loc[rows], 1.0))

    def held(x):
        with pyro.plate("data", len(X), subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(0.0, PRIOR))
            pyro.sample("x", dist.Normal(z, NOISE), obs=x)

    pair = pv.Pair(held, scattered)
    pv.fit(pair, X, epochs=60, batch_size=50, learning_rate=0.3, **QUIET)
    assert float((pyro.param("loc").detach() - X).abs().max()) < 2
    assert float((pv.encode(pair, X)["z"].mean - X).abs().max()) < 2
    with pytest.raises(pv.PairError, match="own 140 rows only, and these have 4"):
        pv.encode(pair, X[10:14])
    with pytest.raises(pv.ArgumentError, match="as arrays"):
        pv.fit(pair, DataLoader(TensorDataset(X), batch_size=50), epochs=1, **QUIET)


def test_one_batch_of_all_rows_is_in_order():
    rows = len(X)
    assert next(as_batches(X, batch_size=rows).epoch(3)).args[0].equal(X)
    assert not next(as_batches(X, batch_size=rows - 1).epoch(3)).args[0].equal(X[: rows - 1])


@pytest.mark.parametrize("entry", pairs())
def test_amortised_pairs_own_no_rows(entry):
    pair, data = entry.make()
    args = data if isinstance(data, tuple) else () if isinstance(data, dict) else (data,)
    kwargs = data if isinstance(data, dict) else {}
    plate = "data" if "nested" in entry.traits else inspect(pair, args, kwargs).data_plate
    owns = "local_autoguide" in entry.traits and "full_data" not in entry.traits
    if entry.name != "plate_without_size":
        assert (own_rows(pair, args, kwargs, plate) is not None) == owns
    assert "autoguide" in entry.traits or remembered_rows(pair, args, kwargs) is None


def test_noise_beside_the_sites_and_networks_that_switch_units_off_are_no_rows():
    net = nn.Sequential(nn.Linear(1, 300), nn.ReLU(), nn.Linear(300, 2))

    def guide(x):
        pyro.module("net", net)
        loc, scale = net(x[:, None] + torch.randn(len(x), 1)).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()))

    for seed in range(20):
        torch.manual_seed(seed)
        net.apply(lambda part: part.reset_parameters() if hasattr(part, "reset_parameters") else None)
        assert own_rows(pv.Pair(model, guide), (X[::10],), {}, "data") is None


def company(reads):
    decoder, encoder = nn.Linear(2, 5), nn.Linear(5, 4)

    def crowd(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, scale = encoder(x - reads(x)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.Pair(crowd, guide)


@pytest.mark.parametrize(
    ("reads", "found"),
    [(lambda x: x.mean(0), True), (lambda x: x.amax(0), True), (lambda x: x.mean(1, keepdim=True), False)],
)
def test_a_row_that_moves_with_its_company_is_found(reads, found):
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    clauses = [finding.clause for finding in findings(company(reads), (x,), {})]
    assert clauses == (["reads-other-rows"] if found else [])


@pytest.mark.slow
def test_a_guide_that_draws_all_rows_as_one_vector_has_the_evidence_of_the_whole_alone():
    few = X[::14]
    pair = pv.Pair(model, AutoDiagonalNormal(model))
    pv.fit(pair, few, steps=300, learning_rate=pv.linear(0.4, 0.01, steps=300), **QUIET)
    for ask in (pv.log_evidence, pv.psis, pv.ais, pv.inference_gap):
        with pytest.raises((pv.PairError, pv.ArgumentError), match=r"one vector|no local site"):
            ask(pair, few)
    whole = pv.log_evidence(pair, few, draws=150, joint=True)
    assert float((whole.value - evidence(few).sum()).abs()) < 6 * float(whole.error) + 0.1


@pytest.mark.parametrize("name", ["messenger", "by hand", "conditioned"])
def test_a_pair_that_stops_on_other_rows_is_asked_for_its_own(name):
    def by_hand(x):
        loc = pyro.param("own_loc", torch.zeros(12))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    known = pyro.condition(model, data={"z": X[:12]})
    pair = {
        "messenger": lambda: pv.Pair(model, AutoNormalMessenger(model)),
        "by hand": lambda: pv.Pair(model, by_hand),
        "conditioned": lambda: pv.Pair(known, lambda x: None),
    }[name]()
    run(pair, (X[:12],), {})
    for ask in (pv.encode, pv.log_evidence, lambda *a: pv.novelty(*a, calibration=X[20:])):
        with pytest.raises(pv.PairError, match=r"holds for its own 12 rows only, and these have (5|125)") as raised:
            ask(pair, X[:5])
        assert "Trace Shapes" not in str(raised.value)


def test_rows_along_another_dimension_are_asked_for_as_the_refusal_says():
    def words(x):
        with pyro.plate("documents", x.shape[1]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("words", len(x)):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("documents", x.shape[1]):
            pyro.sample("z", dist.Normal(x.sum(0) / (len(x) + 1), (len(x) + 1) ** -0.5))

    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    with pytest.raises(pv.ArgumentError, match=r"x\.transpose\(0, 1\)"):
        pv.log_evidence(pv.Pair(words, guide), x, data_plate="documents")
    turned = pv.Pair(lambda x: words(x.transpose(0, 1)), lambda x: guide(x.transpose(0, 1)))
    found = pv.log_evidence(turned, x.transpose(0, 1), draws=3).value
    exact = dist.MultivariateNormal(torch.zeros(4), torch.eye(4) + 1).log_prob(x.T)
    torch.testing.assert_close(found.float(), exact, atol=1e-4, rtol=0)  # the guide is the exact posterior


def test_rows_that_do_not_come_first_are_refused():
    def words(x):
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
        with pyro.plate("documents", x.shape[1]), pyro.plate("words", len(x)):
            pyro.sample("x", dist.Normal(weight, 1.0), obs=x)

    def guide(x):
        pyro.sample("weight", dist.Normal(pyro.param("weight_loc", torch.tensor(0.0)), 1.0))

    pair, x = pv.Pair(words, guide), torch.randn(4, 30)
    told = r"'documents' holds 30 rows, and the first dimension of the data 4\. It .* dimension 1 of argument 'x'\."
    for ask in (pv.elbo, pv.rate_distortion, lambda *a, **k: pv.fit(*a, steps=1, **QUIET, **k)):
        with pytest.raises(pv.ArgumentError, match=told):
            ask(pair, x, data_plate="documents")
    pv.fit(pair, x, steps=1, data_plate="words", **QUIET)


def test_on_a_device_the_plate_of_the_rows_is_found_without_an_index_beyond_them():
    seen = []

    def model(x):
        with pyro.plate("data", 6) as index:
            seen.append(len(x))
            z = pyro.sample("z", dist.Normal(torch.zeros(6, device=x.device), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index.to(x.device)])

    def guide(x):
        with pyro.plate("data", 6):
            pyro.sample("z", dist.Normal(torch.zeros(6, device=x.device), 1.0))

    pair = pv.Pair(model, guide)
    with pyro.validation_enabled(False):  # which would look at values
        for device in ("cpu", "meta"):
            x = torch.zeros(6, device=device)
            assert find_data_plate(pair, (x,), {}, run(pair, (x,), {})) == "data"
    assert seen == [6, 5, 6, 7]


def test_own_rows_beside_a_covariate_are_asked_about_together():
    y = 0.5 * X

    def line(x):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(slope * x, NOISE))

    def guide(x):
        pyro.sample("slope", dist.Normal(0.5, 1e-4))

    pair = pv.Pair(pyro.condition(line, data={"y": y}), guide)
    found = pv.log_evidence(pair, X, draws=5).value
    assert torch.allclose(found.double(), dist.Normal(0.0, NOISE).log_prob(torch.zeros(())).double(), atol=1e-3)
    with pytest.raises(pv.PairError, match=f"{len(X)}"):
        pv.log_evidence(pair, X[:20])
