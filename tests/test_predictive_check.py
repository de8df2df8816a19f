"""Statistics of data beside those of drawn data sets: uniform where the model is right, small where it is not."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from registry import born, pairs, plate_of

import pyrovae as pv

WEIGHT, MEAN = torch.tensor([[1.0], [2.0], [-1.0]]), torch.zeros(3)


def of_scale(scale: float) -> pv.truth.LinearGaussian:
    return pv.truth.LinearGaussian(WEIGHT, MEAN, scale)


@pytest.mark.slow
def test_p_values_are_uniform_under_the_model_itself():
    truth = of_scale(0.5)
    found = [pv.predictive_check(truth, truth.sample(30, seed=seed), draws=79, seed=seed)["x"] for seed in range(200)]
    chances = torch.stack([one.chance for one in found])[:, [0, 1, 3]]
    for level in (0.1, 0.5):
        share = (chances <= level).double().mean(0)
        assert bool(((share - level).abs() < 3.5 * (level * (1 - level) / 200) ** 0.5).all()), share


@pytest.mark.parametrize(("scale", "side"), [(1.0, "below"), (0.2, "above")])
def test_noise_of_another_size_is_found(scale, side):
    x = of_scale(0.5).sample(300, seed=0)
    found = pv.predictive_check(of_scale(scale), x, statistics={"spread": lambda x: (x[:, 1] - 2 * x[:, 0]).std()})["x"]
    assert found.verdict.startswith("'spread' of the data is")
    assert side in found.verdict
    assert float(found.chance) == pytest.approx(2 / 401)


def test_the_latent_part_is_checked_by_new_latents_alone():
    """The guide is at the data whatever the prior is: only draws of the whole model show that it is off."""
    truth = of_scale(0.5)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.full((len(x), 1), 5.0), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ WEIGHT.T, 0.5).to_event(1), obs=x)

    pair, x = pv.Pair(model, truth.guide), truth.sample(200, seed=0)
    mean = {"mean": torch.mean}
    assert float(pv.predictive_check(pair, x, statistics=mean, draws=100)["x"].chance) < 0.03
    assert float(pv.predictive_check(pair, x, statistics=mean, draws=100, latents="posterior")["x"].chance) > 0.1


def test_drawn_statistics_are_those_of_drawn_data_whatever_memory_holds(monkeypatch):
    from pyrovae.trust import predictive_check as module

    truth = of_scale(0.5)
    x = truth.sample(400, seed=0)
    whole = pv.predictive_check(truth, x, statistics={"variance": torch.var}, draws=200)["x"]
    covariance = WEIGHT @ WEIGHT.T + 0.25 * torch.eye(3)
    assert float(whole.drawn.mean()) == pytest.approx(float(covariance.diag().mean()), rel=0.03)
    assert float(whole.observed) == pytest.approx(float(x.var()), rel=1e-6)
    monkeypatch.setattr(module, "_TOGETHER", 2 * x.numel())
    parts = pv.predictive_check(truth, x, statistics={"variance": torch.var}, draws=200)["x"]
    assert float(parts.drawn.mean()) == pytest.approx(float(whole.drawn.mean()), rel=0.03)
    assert len(parts.drawn.unique()) == 200  # no part is another one again


def test_cells_that_are_not_observed_count_on_neither_side():
    def model(x, there):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.poutine.mask(mask=there):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, there):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    there = torch.arange(100) % 2 == 0
    x = torch.where(there, torch.randn(100), 1e6)
    seen = {"count": lambda x: x.isfinite().sum(), "largest": lambda x: x.nan_to_num(nan=-9.0).max()}
    found = pv.predictive_check(pv.Pair(model, guide), x, there, statistics=seen, draws=50)["x"]
    assert found.observed.tolist() == [50, float(x[there].max())]
    assert (found.drawn[0] == 50).all()


def test_a_statistic_that_is_no_number_is_not_called_right():
    x = of_scale(0.5).sample(50, seed=0)
    lost = {"root": lambda x: (x - 1e9).sqrt().mean()}
    found = pv.predictive_check(of_scale(0.5), x, statistics=lost, draws=50)["x"]
    assert bool(found.chance.isnan().all())
    assert found.verdict == "Nothing is said of 'root': not finite in the data or in a draw."
    both = pv.predictive_check(of_scale(0.5), x, statistics={"mean": torch.mean, **lost}, draws=100)["x"]
    assert both.verdict.startswith("The drawn data have")
    assert both.verdict.endswith("Nothing is said of 'root': not finite in the data or in a draw.")


@pytest.mark.parametrize("entry", pairs())
def test_any_pair_can_be_checked(entry):
    pair, args, kwargs = born(entry)
    state = torch.get_rng_state()
    options = {"draws": 3, "data_plate": plate_of(entry)}
    found = pv.predictive_check(pair, *args, **kwargs, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert found
    for check in found.values():
        assert check.drawn.shape == (5, 3)
        assert bool(check.observed.isfinite().all())
        assert check.verdict.startswith("3 drawn data sets are too few")


def test_it_is_drawn_with_a_line_where_the_data_lie():
    x = of_scale(0.5).sample(50, seed=0)
    found = pv.predictive_check(of_scale(0.5), x, draws=20)["x"]
    axes = found.plot().axes
    assert [axis.lines[0].get_xdata()[0] for axis in axes] == pytest.approx(found.observed.tolist())
    assert np.isclose(sum(bar.get_height() for bar in axes[0].patches), 20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 0}, "draws=0"),
        ({"latents": "prior"}, "'new' or 'posterior'"),
        ({"statistics": {}}, "one at least"),
        ({"statistics": {"mean": 3}}, "one at least"),
        ({"statistics": {"rows": lambda x: x.mean(1)}}, r"'rows' gives shape \(20,\)"),
        ({"statistics": {"broken": lambda x: x["a"]}}, "'broken' fails"),
    ],
)
def test_what_cannot_be_asked_is_refused(options, words):
    with pytest.raises(pv.ArgumentError, match=words):
        pv.predictive_check(of_scale(0.5), of_scale(0.5).sample(20, seed=0), **options)
