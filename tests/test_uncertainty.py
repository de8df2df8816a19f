"""The split of predictive uncertainty, against closed forms and over all styles of pair."""

from __future__ import annotations

import logging
import math
from queue import SimpleQueue

import pyro
import pyro.distributions as dist
import pytest
import torch
from known_models import classes
from pyro.infer import config_enumerate
from registry import REGISTRY, ROWS, born, pairs, real, takes_all_rows

import pyrovae as pv
from pyrovae.models.conditionals.distributions import DiscretizedLogisticLevels
from pyrovae.pairs.pair import Pair
from pyrovae.sampling import sampler as sampler_module
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_part
from pyrovae.trust import uncertainty_grid
from pyrovae.trust.uncertainty_parts import measure_for

PARTS = ("aleatoric", "latent", "epistemic")


def shifted() -> pv.truth.ShiftedGaussian:
    weight = torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5]], dtype=torch.double)
    return pv.truth.ShiftedGaussian(weight, noise=0.7, spread=2.0)


# --- closed forms -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_parts_in_closed_form():
    truth = shifted()
    x = truth.sample(4)
    shared, inner = 300, 10
    found, exact = pv.uncertainty(truth, x, draws=(shared, inner))["x"], truth.split(x)
    assert torch.allclose(found.aleatoric, exact.aleatoric)
    # The relative error of a variance from n independent normal draws is sqrt(2 / n), and each row has its own.
    latent, raw = exact.latent, exact.epistemic + exact.latent / inner
    assert ((found.latent - latent).abs() < 4 * latent * math.sqrt(2 / (shared * inner))).all()
    assert ((found.epistemic - exact.epistemic).abs() < 4 * raw * math.sqrt(2 / shared)).all()
    total = sum(exact)
    assert ((found.nats - 0.5 * (2 * math.pi * math.e * total).log().sum(1)).abs() < 0.1).all()
    noise = 0.5 * (2 * math.pi * math.e * exact.aleatoric).log().sum(1)
    assert torch.allclose(found.information, found.nats - noise)


@pytest.mark.slow
def test_the_epistemic_part_falls_as_one_over_the_data():
    truth = shifted()
    x = truth.sample(80)
    parts = {}
    for rows in (5, 20, 80):
        # One draw of the guide serves whichever rows are looked at, so its posterior must be of all rows given.
        pair = Pair(truth.model, lambda shown, given=x[:rows]: truth._guide(shown, truth.posterior(given)))
        parts[rows] = pv.uncertainty(pair, x[:2], draws=(150, 100))["x"].epistemic.mean()
        exact = truth.split(x[:2], x[:rows]).epistemic.mean()
        raw = exact + truth.split(x[:2]).latent.mean() / 100
        assert abs(parts[rows] - exact) < 4 * raw * math.sqrt(2 / 150)
    assert 3 < parts[5] / parts[20] < 5  # 1/N and a little prior
    assert 3 < parts[20] / parts[80] < 5


def test_what_inner_draws_put_into_the_epistemic_part_is_taken_out():
    truth = pv.truth.LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)

    def beside(function):
        def program(x):
            pyro.sample("idle", dist.Normal(0.0, 1.0))
            return function(x)

        return program

    pair = Pair(beside(truth.model), beside(truth.guide))
    x = truth.sample(200)
    shared, inner = 20, 4
    found = pv.uncertainty(pair, x, draws=(shared, inner))["x"]
    exact = 0.25 * torch.linalg.inv(torch.eye(2) * 1.25)[0, 0]
    rows = found.epistemic[:, 0]
    assert abs(rows.mean()) < 4 * rows.std() / math.sqrt(len(rows))
    biased = (found.epistemic + found.moved)[:, 0]
    assert torch.allclose(biased.mean(), exact / inner * (shared - 1) / shared, rtol=0.1)
    latent = found.latent[:, 0]
    assert abs(latent.mean() - exact * (1 - 1 / (shared * inner))) < 4 * latent.std() / math.sqrt(len(latent))
    assert torch.equal(found.total, found.aleatoric + found.latent + found.epistemic)


def test_entropies_of_classes():
    truth = classes()
    x = truth.sample(5)
    found = pv.uncertainty(truth, x, draws=20_000)["x"]
    posterior = truth.posterior(x).probs

    def entropy(p):
        return torch.special.entr(p) + torch.special.entr(1 - p)

    total = entropy(posterior @ truth.probabilities)
    noise = posterior @ entropy(truth.probabilities)
    assert found.measure == "entropy"
    assert torch.allclose(found.total, total, atol=0.01)
    assert torch.allclose(found.aleatoric, noise, atol=0.01)
    assert torch.allclose(found.latent, total - noise, atol=0.01)
    assert torch.allclose(found.nats, total.sum(1), atol=0.03)
    assert torch.allclose(found.information, (total - noise).sum(1), atol=0.03)


@pytest.mark.slow
def test_three_entropies_of_a_categorical_in_closed_form():
    """Two coins: a global one, known to be 0.8 : 0.2, and a local one; the class is their sum."""

    def model(y):
        w = pyro.sample("w", dist.Bernoulli(torch.tensor(0.8)))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
            table = torch.eye(3)[(w + z).long()] * 0.7 + 0.1
            pyro.sample("y", dist.Categorical(table), obs=y)

    def guide(y):
        pyro.sample("w", dist.Bernoulli(torch.tensor(0.8)))
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))

    found = pv.uncertainty(Pair(model, guide), torch.zeros(200).long(), draws=(200, 60))["y"]

    def entropy(p):
        return torch.special.entr(p).sum(-1)

    of_sum = torch.eye(3) * 0.7 + 0.1
    given = torch.stack([of_sum[:2].mean(0), of_sum[1:].mean(0)])
    mean = 0.2 * given[0] + 0.8 * given[1]
    noise, within = entropy(of_sum[0]), 0.2 * entropy(given[0]) + 0.8 * entropy(given[1])
    assert torch.allclose(found.aleatoric, noise.expand(200))
    assert torch.allclose(found.latent.mean(), within - noise, atol=0.005)
    assert torch.allclose(found.epistemic.mean(), entropy(mean) - within, atol=0.02)
    with pytest.raises(pv.PairError, match="no mean and variance"):
        pv.uncertainty(Pair(model, guide), torch.zeros(3).long(), measure="variance", draws=(2, 2))


@pytest.mark.slow
def test_a_global_site_alone_takes_all_draws():
    truth = pv.truth.BetaBernoulli(2.0, 3.0)
    x = truth.sample(20)
    found = pv.uncertainty(truth, x, draws=1500, measure="variance")["x"]
    p = truth.posterior(x)
    assert torch.allclose(found.epistemic, p.variance.expand(20), rtol=0.1)
    assert torch.allclose(found.aleatoric, (p.mean * (1 - p.mean) - p.variance).expand(20), rtol=0.02)
    assert (found.latent == 0).all()
    assert (found.moved == 0).all()


def test_without_a_source_the_epistemic_part_is_unknown_and_says_so(caplog):
    truth = pv.truth.LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)
    with caplog.at_level(logging.WARNING, "pyrovae"):
        found = pv.uncertainty(truth, truth.sample(3), draws=10)["x"]
    assert found.epistemic.isnan().all()
    assert "no global site" in caplog.text
    assert torch.equal(found.total, found.aleatoric + found.latent)


# --- every style of pair ------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", pairs(without={"no_moments"}))
def test_running_sums_are_those_of_all_draws_together(entry, monkeypatch):
    pair, args, kwargs = born(entry)
    if not takes_all_rows(entry):
        monkeypatch.setattr(sampler_module, "TILE_ROWS", 20)
    monkeypatch.setattr(sampler_module, "_TILE_NUMBERS", 2 * 12 * 20)  # two draws or so in a tile
    found = pv.uncertainty(pair, *args, draws=(3, 5), measure="auto", seed=1, **kwargs)
    assert set(found) == {site.removesuffix("_observed") for site in entry.observed}
    sampler = Sampler.of(pair, args, kwargs, seed=1)
    shared, inner = uncertainty_grid.grid_size(sampler, (3, 5))
    for name, one in found.items():
        assert torch.equal(one.total, one.aleatoric + one.latent + torch.nan_to_num(one.epistemic))
        assert one.epistemic.isnan().all() == (not sampler.global_sites)
        if name in entry.beside_rows:
            continue
        noise, within, total = together(sampler, observed_part(sampler.structure, name), one.measure, shared, inner)
        assert torch.allclose(one.aleatoric.double(), noise, rtol=1e-4, atol=1e-6)
        assert torch.allclose((one.latent - one.moved).double(), within - noise, rtol=1e-4, atol=1e-6)
        assert torch.allclose(one.total.double(), total, rtol=1e-4, atol=1e-6)


def together(sampler, name, measure, shared, inner):
    """Noise, noise and spread within global draws, and all of it: from all draws at once."""
    tiles = {}
    for tile in sampler.tiles(shared) if inner == 1 else sampler.grid(shared, inner):
        chosen = measure_for(tile.runs[0].node(name)["fn"], measure)
        read = [tile.of(name, function, extra=extra) for function, extra in chosen.statistics]
        tiles.setdefault(tile.rows, []).append(read)
    event = len(tile.runs[0].node(name)["fn"].event_shape)
    axis = sampler.layout.place(("model", name), batch=True).axis - event - chosen.statistics[0][1]
    whole = [
        torch.cat([torch.cat([read[i] for read in tile]) for tile in tiles.values()], axis)
        for i in range(len(chosen.statistics))
    ]
    grid = whole[0].unflatten(0, (shared, inner))
    if measure == "entropy":
        return (
            torch.special.entr(grid).sum(-1).mean((0, 1)),
            torch.special.entr(grid.mean(1)).sum(-1).mean(0),
            torch.special.entr(grid.mean((0, 1))).sum(-1),
        )
    noise = whole[1].mean(0)
    return noise, noise + grid.var(1, correction=0).mean(0), noise + grid.flatten(0, 1).var(0, correction=0)


@pytest.mark.parametrize("entry", pairs(without={"full_data", "local_autoguide", "no_moments"}))
def test_generated_data_come_with_their_uncertainty(entry):
    pair, args, kwargs = born(entry)
    made = pv.generate_with_uncertainty(pair, *args, draws=(3, 4), seed=2, **kwargs)
    assert made.uncertainty
    for name, one in made.uncertainty.items():
        assert one.nats.shape == (32,)
        assert one.total.isfinite().all()
        assert one.nats.isfinite().all()
        assert torch.equal(one.total, one.aleatoric + one.latent + torch.nan_to_num(one.epistemic))
        assert name in made.values


# --- generated data -----------------------------------------------------------------------------------


def test_generated_data_in_closed_form():
    truth = shifted()
    given = truth.sample(20)
    pair = Pair(truth.model, lambda shown: truth._guide(shown, truth.posterior(given)))
    made = pv.generate_with_uncertainty(pair, torch.zeros(30, 3, dtype=torch.double), draws=(150, 30), seed=0)
    found = made.uncertainty["x"]
    exact = truth.split(made.values["x"], given)
    assert torch.allclose(found.aleatoric, exact.aleatoric)
    assert torch.allclose(found.latent.mean(0), exact.latent[0], rtol=0.05)
    own = truth.posterior(given).variance  # at the datum's own z all of the mean's variance counts
    assert ((found.epistemic - own).abs() < 4 * own * math.sqrt(2 / 150)).all()
    residual = made.values["x"] - made.values["z"] @ truth.weight.T - made.values["mean"]
    assert torch.allclose(residual.std(), torch.tensor(0.7, dtype=torch.double), rtol=0.25)


def test_generated_data_are_encoded_again():
    truth = classes()
    x = truth.sample(40, seed=5)
    made = pv.generate_with_uncertainty(truth, x, draws=50, seed=3)
    assert not torch.equal(made.values["x"], x)
    again = pv.uncertainty(truth, made.values["x"], draws=50, seed=3)["x"]
    assert torch.equal(made.uncertainty["x"].latent, again.latent)
    own = torch.distributions.Bernoulli(truth.probabilities[made.values["z"]]).entropy()
    assert torch.allclose(made.uncertainty["x"].aleatoric, own)


def test_members_of_an_ensemble_are_compared_after_encoding():
    """One member's code means something else to another, so no decoder is run on another one's codes."""

    def new():
        return pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 2), scale=1.0), pv.DiagNormal(pv.MLP(2, [], 2)))

    pair = pv.epistemic.ensemble(new, torch.zeros(8, 2), members=3)
    made = pv.generate_with_uncertainty(pair, 6, draws=(8, 5), seed=2)
    again = pv.uncertainty(pair, made.values["x"], draws=(8, 5), seed=2)["x"]
    assert torch.equal(made.uncertainty["x"].epistemic, again.epistemic)
    bayesian = pv.epistemic.bayesian_weights(new(), torch.zeros(8, 2))
    made = pv.generate_with_uncertainty(bayesian, 6, draws=(8, 5), seed=2)
    again = pv.uncertainty(bayesian, made.values["x"], draws=(8, 5), seed=2)["x"]
    assert not torch.equal(made.uncertainty["x"].epistemic, again.epistemic)


def test_the_built_in_pair_takes_a_number():
    vae = pv.VAE(
        pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [8], (1, 4, 4))), pv.DiagNormal(pv.MLP((1, 4, 4), [8], 4))
    )
    made = pv.generate_with_uncertainty(vae, 300, draws=10, seed=0)  # more than one tile of rows
    assert made.values["x"].shape == made.uncertainty["x"].total.shape == (300, 1, 4, 4)
    assert made.uncertainty["x"].nats.shape == (300,)


def test_a_slice_of_an_argument_is_written_back():
    """Two sites observe one column each of the same argument."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("a", dist.Normal(z, 0.1), obs=x[:, 0])
            pyro.sample("b", dist.Normal(-z, 0.1), obs=x[:, 1])

    def guide(x):
        seen.put(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.1))

    seen: SimpleQueue[torch.Tensor] = SimpleQueue()  # a list would be as it was after the question
    made = pv.generate_with_uncertainty(Pair(model, guide), torch.full((7, 2), 9.0), draws=3, seed=0)
    both = torch.stack([made.values["a"], made.values["b"]], 1)
    given = [seen.get() for _ in range(seen.qsize())]
    assert any(x.shape[0] >= 7 and torch.equal(x[:7], both) for x in given)


# --- the same again, and what cannot be ---------------------------------------------------------------


def test_a_seed_decides_and_the_callers_random_state_is_left_alone():
    truth = shifted()
    x = truth.sample(3)
    before = torch.get_rng_state()
    one, other = (pv.uncertainty(truth, x, draws=(3, 3), seed=7)["x"] for _ in range(2))
    assert torch.equal(one.total, other.total)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one.total, pv.uncertainty(truth, x, draws=(3, 3), seed=8)["x"].total)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 0}, "whole number"),
        ({"draws": -3}, "whole number"),
        ({"draws": 2.5}, "whole number"),
        ({"draws": (2, 3, 4)}, "or two"),
        ({"draws": (1, 10)}, "two draws at least"),
        ({"draws": (10, 1)}, "two draws at least"),
        ({"sites": "y"}, "'y' is no observed site"),
        ({"measure": "nats"}, "measure="),
    ],
)
def test_bad_arguments(options, words):
    truth = shifted()
    with pytest.raises(pv.ArgumentError, match=words):
        pv.uncertainty(truth, truth.sample(3), **options)


def test_data_of_another_shape():
    truth = shifted()
    with pytest.raises(pv.PairError, match="does not run on these data"):
        pv.uncertainty(truth, torch.zeros(4, 7))


def test_a_site_without_moments_is_left_out_in_words(caplog):
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Cauchy(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    pair, x = Pair(model, guide), real()[:, 0]
    with caplog.at_level(logging.WARNING, "pyrovae"):
        assert list(pv.uncertainty(pair, x, x, draws=4)) == ["y"]
    assert "'x', a Cauchy, has no mean and variance" in caplog.text
    with pytest.raises(pv.PairError, match="Cauchy"):
        pv.uncertainty(pair, x, x, draws=4, sites=["x"])
    with pytest.raises(pv.PairError, match="no classes"):
        pv.uncertainty(pair, x, x, draws=4, measure="entropy")


def test_generating_from_what_cannot_be_generated_from():
    truth = shifted()
    with pytest.raises(pv.PairError, match="does not say what its data look like"):
        pv.generate_with_uncertainty(truth, 5)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(truth.sample(5)))
    with pytest.raises(pv.DataError, match="need arrays"):
        pv.generate_with_uncertainty(truth, loader, draws=3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.sum(-1))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sum(-1), 1.0))

    with pytest.raises(pv.PairError, match="no argument of the model"):
        pv.generate_with_uncertainty(Pair(model, guide), real(), draws=3)


@pytest.mark.parametrize(
    ("likelihood", "spacing"),
    [
        (lambda: dist.Poisson(torch.full((4,), 1e-30)), 1.0),
        (lambda: DiscretizedLogisticLevels(torch.full((4,), 2.0), torch.full((4,), 1e-3), 5, 2.0), 0.5),
    ],
)
def test_values_on_a_grid_that_are_sure_have_finite_nats(likelihood, spacing):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", likelihood().expand([len(x), 4]).to_event(1), obs=x)

    found = pv.uncertainty(pv.Pair(model, lambda x: None), torch.zeros(3, 4), measure="variance")["x"]
    assert float(found.total.max()) < 1e-9
    exact = 4 * 0.5 * math.log(2 * math.pi * math.e * spacing**2 / 12)
    assert torch.allclose(found.nats, torch.full((3,), exact), atol=1e-4)


@pytest.mark.parametrize("around", [lambda model: model, pyro.infer.config_enumerate], ids=["drawn", "summed"])
def test_what_the_model_alone_draws_for_all_rows_cannot_be_told_from_local_sites(around):
    @around
    def model(x):
        k = pyro.sample("k", dist.Bernoulli(0.5))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0), infer={"enumerate": None})
            pyro.sample("x", dist.Normal(z + k, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    with pytest.raises(pv.PairError, match="'k' stands outside the data plate"):
        pv.uncertainty(pv.Pair(model, guide), torch.zeros(3))


def test_a_generated_chain_that_the_model_enumerates_has_the_noise_of_its_own_states():
    scales, change = torch.tensor([0.5, 2.0]), torch.tensor([[0.8, 0.2], [0.3, 0.7]])

    @config_enumerate
    def model(x):
        with pyro.plate("data", len(x)):
            s = torch.zeros(len(x), dtype=torch.long)
            for t in pyro.markov(range(x.shape[1])):
                s = pyro.sample(f"s_{t}", dist.Categorical(change[s]))
                pyro.sample(f"x_{t}", dist.Normal(0.0, scales[s]), obs=x[:, t])

    made = pv.generate_with_uncertainty(pv.Pair(model, lambda x: None), torch.zeros(30, 3))
    for t in range(3):
        states = made.values[f"s_{t}"]
        assert torch.allclose(made.uncertainty[f"x_{t}"].aleatoric, scales[states] ** 2)
    assert len(made.values["s_2"].unique()) == 2


def test_a_site_observed_in_part_has_the_name_that_predictions_give_it():
    pair, args, kwargs = born(REGISTRY["observation_mask"])
    known = set(pv.posterior_predictive(pair, *args, draws=2, **kwargs)) - {"y_unobserved"}
    assert set(pv.uncertainty(pair, *args, draws=4, **kwargs)) == known == {"x", "y"}
    assert set(pv.uncertainty(pair, *args, draws=4, sites=["y"], **kwargs)) == {"y"}
    assert set(pv.calibration(pair, *args, draws=4, **kwargs)) == known
    assert pv.selective(pair, *args, site="y", draws=4, **kwargs).loss.shape == (ROWS,)
    with pytest.raises(pv.ArgumentError, match="observed sites are 'y', 'x'"):
        pv.uncertainty(pair, *args, sites="other", **kwargs)
