"""The nearest datum that is usual, certain or of another class, against what linear algebra says of it."""

from __future__ import annotations

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv

torch.manual_seed(0)
WEIGHT, MEAN = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
TRUTH = pv.truth.LinearGaussian(WEIGHT, MEAN, 0.5)
USUAL = TRUTH.sample(999, seed=3)
SCALE = USUAL.std(0, unbiased=False)
METRIC = torch.diag(1 / SCALE**2)
PRECISION = torch.linalg.inv(WEIGHT @ WEIGHT.T + 0.25 * torch.eye(4, dtype=torch.float64))
X = TRUTH.sample(3, seed=1)
X[0, 2] += 2.0  # off the manifold: its projection is an ordinary datum
X[1] = MEAN + WEIGHT @ torch.tensor([4.0, -4.0], dtype=torch.float64)  # on it, where nothing is


def nearest(row: torch.Tensor, pull: float) -> torch.Tensor:
    """The datum of the manifold nearest to a row, drawn towards the mean."""
    gram = WEIGHT.T @ (METRIC + pull * PRECISION) @ WEIGHT
    return MEAN + WEIGHT @ torch.linalg.solve(gram, WEIGHT.T @ METRIC @ (row - MEAN))


def nearest_usual(row: torch.Tensor) -> torch.Tensor:
    """The same where 49 of the 999 usual rows have no more evidence: then p is 0.05."""
    border = TRUTH.log_evidence(USUAL).sort().values[48]
    low, high = 0.0, 1e4
    if TRUTH.log_evidence(nearest(row, low)[None]) >= border:
        return nearest(row, low)
    for _ in range(60):
        middle = (low + high) / 2
        usual = TRUTH.log_evidence(nearest(row, middle)[None]) >= border
        low, high = (low, middle) if usual else (middle, high)
    return nearest(row, high)


@pytest.mark.slow
def test_the_nearest_usual_datum_is_the_exact_one():
    found = pv.counterfactual(TRUTH, X[:2], calibration=USUAL, draws=1, steps=150)
    exact = torch.stack([nearest_usual(row) for row in X[:2]])
    assert found.met.all()
    assert ((found.data - exact) / SCALE).abs().max() < 0.02
    assert torch.allclose(found.data[0], exact[0], atol=1e-4)
    assert found.p_value[0] > 0.06
    assert found.p_value[1] == pytest.approx(0.05, abs=0.003)
    assert torch.equal(found.change, found.data - X[:2])
    assert torch.allclose(found.distance, ((found.change / SCALE) ** 2).mean(1).sqrt())


@pytest.mark.slow
def test_the_nearest_datum_of_a_class_is_the_exact_one():
    """Of a linear border: the projection, moved along the manifold until it is reached."""
    start = nearest(X[2], 0.0)
    step = WEIGHT @ torch.linalg.solve(WEIGHT.T @ METRIC @ WEIGHT, WEIGHT[0])
    target = start[0] + 1.0
    found = pv.counterfactual(
        TRUTH, X[2:], calibration=USUAL, toward=lambda x: x[:, 0] - target, alpha=0.01, draws=1, steps=150
    )
    assert found.met.all()
    assert torch.allclose(found.data[0], start + step / step[0], atol=0.02)


def test_distances_are_in_the_units_that_are_given():
    """Of X[0], whose projection is usual in either metric, the one of equal units."""
    found = pv.counterfactual(TRUTH, X[:1], calibration=USUAL, alpha=0.002, scale=2.0, draws=1, steps=100)
    projection = MEAN + WEIGHT @ torch.linalg.lstsq(WEIGHT, X[0] - MEAN).solution
    assert torch.allclose(found.data[0], projection, atol=1e-3)
    assert torch.allclose(found.distance[0], (projection - X[0]).square().mean().sqrt() / 2, atol=1e-4)


def test_what_cannot_be_reached_is_said():
    found = pv.counterfactual(TRUTH, X[2:], calibration=USUAL, toward=lambda x: x[:, 0] - 99.0, draws=2, steps=30)
    assert not found.met.any()


def uneven():
    """The noise grows with the latent."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = z[..., None] * torch.tensor([1.0, 0.0])
            pyro.sample("x", dist.Normal(loc, (0.5 * z).exp()[..., None] * torch.tensor([0.1, 1.0])).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 0.1))

    return pv.Pair(model, guide)


def test_a_certain_datum_has_no_more_variance_than_the_usual_one():
    usual = pv.prior_predictive(uneven(), torch.zeros(300, 2), draws=1, seed=0)["x"][0]
    x = torch.tensor([[1.5, 0.0], [-1.0, 0.0]])
    found = pv.counterfactual(uneven(), x, calibration=usual, toward="certain", draws=8, steps=150)
    assert found.met.all()
    border = usual[:, 0].median()  # the variance rises with z, which is the first cell but for little noise
    assert found.data[0, 0] == pytest.approx(float(border), abs=0.1)
    assert found.data[1, 0] == pytest.approx(-1.0, abs=0.02)  # certain as it is


def test_data_of_whole_numbers_stay_such():
    torch.manual_seed(1)
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 6)), pv.DiagNormal(pv.MLP(6, [], 4)))
    x = pv.generate(vae, 60, seed=0)["x"]
    found = pv.counterfactual(vae, x[:3], calibration=x, toward=lambda x: x.sum(1) - 3.0, draws=2, steps=60)
    assert set(found.data.flatten().tolist()) <= {0.0, 1.0}
    assert (found.data[found.met].sum(1) >= 3).all()
    assert found.met.any()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"toward": "better"}, "toward='better'; give 'usual', 'certain'"),
        ({"toward": lambda x: x}, r"toward= gave \(999, 4\); it is given data, \(999, 4\)"),
        ({"toward": lambda x: x[:, 0].detach()}, "loses the gradient"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"scale": [1.0, 2.0]}, r"scale=\[1.0, 2.0\]; give a number above 0, or one for each cell of a row, \(4,\)"),
        ({"calibration": USUAL[:5]}, r"5 calibration data cannot give a p-value below alpha=0.05; give 20 at least"),
        ({"calibration": USUAL[:1].expand(50, 4)}, "all the same row"),
    ],
    ids=["name", "shape", "gradient", "alpha", "scale", "few", "alike"],
)
def test_what_cannot_be_asked_is_refused_in_words(asked, words):
    with pytest.raises((pv.ArgumentError, pv.DataError), match=words):
        pv.counterfactual(TRUTH, X, **{"calibration": USUAL, "steps": 2, "draws": 2, **asked})


def test_latents_that_cannot_be_moved_are_refused_by_name():
    classes = pv.truth.DiscreteMixture(torch.tensor([0.5, 0.5]), torch.tensor([[0.9] * 3, [0.1] * 3]))
    x = (torch.arange(90).reshape(30, 3) % 2).float()
    with pytest.raises((pv.ArgumentError, pv.PairError), match="counterfactual"):
        pv.counterfactual(classes, x, calibration=x, steps=2)
    frame = pd.DataFrame({"one": list("abc") * 10, "other": list("def") * 10})
    table = pv.recipes.table_vae(pv.tables.schema(frame), latent=1, hidden=[4])
    with pytest.raises(pv.PairError, match="at 'x' are classes alone"):
        pv.counterfactual(table, frame.iloc[:2], calibration=frame, steps=2)
