"""A pair whose parameters stand in a store of their own."""

from __future__ import annotations

import copy
import gc
import weakref

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyrovae as pv

X = torch.linspace(-1, 1, 20)
Y = 0.5 * X + 0.1 * torch.sin(30 * X)


def regression(prior):
    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, prior))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(slope * x, 0.1), obs=y)

    return model


def guide(x, y):
    loc = pyro.param("loc", torch.zeros(()))
    pyro.sample("slope", dist.Normal(loc, pyro.param("scale", torch.tensor(0.1), dist.constraints.positive)))


def posterior(prior):
    precision = 1 / prior**2 + (X**2).sum() / 0.01
    return float((X * Y).sum() / 0.01 / precision), float(precision**-0.5)


def fitted(pair, **options):
    return pv.fit(pair, (X, Y), **{"steps": 300, "seed": 0, "progress": False, **options})


def store():
    return {name: value.detach().clone() for name, value in pyro.get_param_store().items()}


@pytest.mark.parametrize(
    "make_guide", [lambda model: guide, AutoNormal, AutoMultivariateNormal], ids=["function", "normal", "multivariate"]
)
@pytest.mark.slow
def test_two_models_are_compared_by_one_line_each(make_guide):
    """Their posteriors are the exact ones, whoever was trained last."""
    pairs = {}
    for prior in (1.0, 0.02):
        model = regression(prior)
        pairs[prior] = pv.own_store(pv.Pair(model, make_guide(model)))
        loss = Trace_ELBO(num_particles=20, vectorize_particles=True)
        fitted(pairs[prior], steps=150, staged="traced", learning_rate=pv.linear(0.1, 0.0, steps=150), loss=loss)
    for prior, pair in pairs.items():
        slope = pv.posterior(pair, X, Y, draws=2000)["slope"]
        mean, scale = posterior(prior)
        assert abs(slope.mean() - mean) < 0.2 * scale
        assert slope.std() == pytest.approx(scale, rel=0.15)
    assert store() == {}


@pytest.mark.parametrize("staged", [False, "traced"])
def test_it_trains_as_the_pair_itself(staged):
    plain = pv.Pair(regression(1.0), guide)
    expected = fitted(plain, steps=20, staged=staged)
    values = store()
    own = pv.own_store(plain)
    run = fitted(own, steps=20, staged=staged)
    assert [row.loss for row in run.history] == [row.loss for row in expected.history]
    assert store() == values
    with own.entries():
        assert store() == values


def test_plain_svi_trains_the_same_entries():
    own = pv.own_store(pv.Pair(regression(1.0), guide))
    rates = {"loc": 0.02, "scale": 0.0}
    svi = SVI(own.model, own.guide, pyro.optim.Adam(lambda name: {"lr": rates[name]}), Trace_ELBO())
    losses = [svi.step(X, Y) for _ in range(100)]
    assert losses[-1] < losses[0]
    assert svi.optim.get_state().keys() == {"loc", "scale"}
    assert store() == {}
    with own.entries():
        assert pyro.param("loc").item() == pytest.approx(posterior(1.0)[0], abs=0.05)
        assert pyro.param("scale").item() == pytest.approx(0.1)
    assert pv.posterior(own, X, Y, draws=500)["slope"].mean() == pytest.approx(posterior(1.0)[0], abs=0.05)


def test_questions_leave_no_entries():
    own = pv.own_store(pv.Pair(regression(1.0), guide))
    pv.check_pair(own, X, Y)
    with pytest.raises(pv.PairError, match="never run"):
        pv.elbo(own, X, Y)
    with own.entries():
        assert store() == {}
    assert store() == {}


def test_weights_are_saved_and_loaded(tmp_path):
    first, second = (pv.own_store(pv.Pair(regression(1.0), guide)) for _ in range(2))
    fitted(first, steps=50)
    pv.save(first, tmp_path / "weights.safetensors")
    pv.load(second, tmp_path / "weights.safetensors")
    assert torch.equal(pv.elbo(second, X, Y, seed=0).value, pv.elbo(first, X, Y, seed=0).value)
    fitted(second, steps=5)
    assert not torch.equal(pv.elbo(second, X, Y, seed=0).value, pv.elbo(first, X, Y, seed=0).value)
    assert store() == {}


def test_a_training_is_resumed(tmp_path):
    whole = pv.own_store(pv.Pair(regression(1.0), guide))
    fitted(whole, steps=10, staged=False)
    for steps in (5, 10):
        half = pv.own_store(pv.Pair(regression(1.0), guide))
        fitted(half, steps=steps, staged=False, checkpoint=tmp_path, resume=True)
    with whole.entries():
        expected = store()
    with half.entries():
        assert store() == expected


def test_around_and_inside_other_pairs():
    own = pv.own_store(pv.temper(pv.Pair(regression(1.0), guide), 0.5))
    fitted(pv.temper(own, 1.0), steps=5)
    pv.rate_distortion(own, X, Y)
    pair = pv.epistemic.bayesian_weights(pv.own_store(pv.VAE(
        pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 2))
    )), torch.randn(20, 3))  # fmt: skip
    pv.fit(pair, torch.randn(20, 3), steps=5, progress=False)


def test_members_of_an_ensemble():
    def new():
        return pv.own_store(pv.Pair(regression(1.0), guide))

    pair = pv.epistemic.ensemble(new, (X, Y), members=2, steps=20, progress=False)
    assert pv.posterior(pair, X, Y, draws=20)["member"].unique().tolist() == [0, 1]
    assert store() == {}


def test_a_copy_is_another_pair():
    own = pv.own_store(pv.Pair(regression(1.0), guide))
    fitted(own, steps=5)
    before = pv.elbo(own, X, Y, seed=0).value
    fitted(copy.deepcopy(own), steps=50)
    assert torch.equal(pv.elbo(own, X, Y, seed=0).value, before)


def test_clearing_the_store_inside_begins_anew():
    own = pv.own_store(pv.Pair(regression(1.0), guide))
    fitted(own, steps=5)
    with own.entries():
        pyro.clear_param_store()
    with own.entries():
        assert store() == {}


def test_entries_go_with_their_pair():
    own = pv.own_store(pv.Pair(regression(1.0), guide))
    fitted(own, steps=5)
    with own.entries():
        tensor = weakref.ref(pyro.get_param_store()._params["loc"])
    del own
    gc.collect()
    assert tensor() is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_jit_of_pyro_is_refused():
    """It asks the global store for parameters by name, and would train another pair's."""
    pyro.param("loc", torch.zeros(()))
    pyro.param("scale", torch.ones(()), dist.constraints.positive)
    own = pv.own_store(pv.Pair(regression(1.0), guide))
    svi = SVI(own.model, own.guide, pyro.optim.Adam({"lr": 0.1}), JitTrace_ELBO(ignore_jit_warnings=True))
    with pytest.raises(pv.PairError, match="JIT"):
        svi.step(X, Y)
