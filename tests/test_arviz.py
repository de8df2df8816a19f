"""What ArviZ is given, in both of its generations (the interpreter decides which is installed)."""

from __future__ import annotations

import logging

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate
from registry import REGISTRY, born, pairs
from stored import ENDINGS

import pyrovae as pv
from pyrovae.evaluation.arviz_versions import arviz, generation, psislw
from pyrovae.export import group_targets
from pyrovae.pairs.trace import run
from pyrovae.sampling import sampler as sampler_module
from pyrovae.sampling.sampler import Sampler

# The seam


@pytest.mark.parametrize("shape", [0.3, 0.6, 0.9])
def test_smoothed_weights_know_the_shape_of_their_tail(shape):
    """Weights of a Pareto distribution have its shape; taken the wrong way up they would have none."""
    weights = 1 + np.random.default_rng(0).pareto(1 / shape, size=(40, 4000))
    smoothed, khat = psislw(np.log(weights))
    assert abs(khat.mean() - shape) < 4 * khat.std() / np.sqrt(len(khat))
    np.testing.assert_allclose(np.exp(smoothed).sum(-1), 1, rtol=1e-9)
    order = np.argsort(weights[0])
    assert (np.diff(smoothed[0, order]) >= -1e-12).all()


def to_groups(data):
    """The xarray data sets of what `from_groups` made, by the name of their group."""
    if generation() == 0:
        return {name: data[name] for name in data.groups()}
    return {name: node.to_dataset(inherit=False) for name, node in data.children.items()}


def test_weights_without_a_tail():
    """All the same, too few, or all alike at the top: no fit, and no error in either generation."""
    alike, khat = psislw(np.full((2, 100), 3.0))
    assert (khat == -np.inf).all()
    np.testing.assert_allclose(alike, -np.log(100))
    few, khat = psislw(np.array([0.0, 1.0, 2.0]))
    assert all(psislw(np.arange(float(count)))[1] == np.inf for count in range(2, 20))
    assert khat == np.inf
    np.testing.assert_allclose(np.exp(few), np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum())
    tied = np.r_[np.zeros(900), np.ones(100)]
    assert psislw(tied)[1] == np.inf


# The groups of every style of pair


def groups_of(pair, *args, draws=5, **kwargs):
    return to_groups(pv.to_arviz(pair, *args, draws=draws, **kwargs))


@pytest.mark.parametrize("entry", pairs())
def test_every_style_of_pair_has_its_groups(entry):
    pair, args, kwargs = born(entry)
    found = groups_of(pair, *args, **kwargs)
    check_names(entry, found)
    check_dims(entry, found)
    check_values(entry, pair, args, kwargs, found)
    if "point" not in entry.traits:
        check_figures(found["sample_stats"])


def check_names(entry, found):
    observed = {name.removesuffix("_observed") for name in entry.observed}
    latent = {*entry.latent, *entry.global_sites}
    for group in ("posterior_predictive", "prior_predictive", "log_likelihood", "observed_data"):
        assert set(found[group].data_vars) == observed
    for group in ("posterior", "prior") if latent else ():
        assert latent <= set(found[group].data_vars)
        assert set(found[group].data_vars) - latent <= {"mean", "y", "z"}  # deterministic sites
    assert set(found["log_prior"].data_vars if latent else ()) == latent
    stats = {"log_p"} if "point" in entry.traits else {"log_p", "log_q", "log_weight", "elbo"}
    assert stats <= set(found["sample_stats"].data_vars) <= {*stats, "local_log_weight"}
    assert ("constant_data" in found) == ("covariates" in entry.traits)


def check_dims(entry, found):
    for group, dataset in found.items():
        drawn = group not in ("observed_data", "constant_data")
        for name, one in dataset.data_vars.items():
            assert (one.dims[:2] == ("chain", "draw")) == drawn, (group, name)
            assert not drawn or one.shape[:2] == (1, 5)
            assert all(dim in dataset.coords for dim in one.dims)
            masked = group == "observed_data" and "masked" in entry.traits
            assert masked or not bool(one.isnull().any()), (group, name)


def check_values(entry, pair, args, kwargs, found):
    """Never squeezed: a dim of one stays; what is observed is what was given."""
    given = [one.double() for leaf in (*args, *kwargs.values()) for one in (leaf, *leaf.reshape(len(leaf), -1).T)]
    tile = next(Sampler.of(pair, args, kwargs, seed=0).tiles(1))
    for name in {*entry.observed} - {*entry.beside_rows} if "masked" not in entry.traits else ():
        value = found["observed_data"][name]
        assert found["posterior_predictive"][name].shape[2:] == value.shape == tuple(tile.value(name).shape[1:])
        assert any(value.size == leaf.numel() and np.allclose(value.values.ravel(), leaf.ravel()) for leaf in given)


def check_figures(stats):
    np.testing.assert_allclose(stats["log_weight"], stats["log_p"] - stats["log_q"], rtol=1e-9, atol=1e-6)
    rows = [dim for dim in stats["elbo"].dims if dim not in ("chain", "draw")]
    np.testing.assert_allclose(stats["elbo"].sum(rows), stats["log_weight"], rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("entry", pairs(having={"global"}))
def test_global_sites_have_no_dim_of_the_rows(entry):
    pair, args, kwargs = born(entry)
    found = groups_of(pair, *args, **kwargs)
    plate = Sampler.of(pair, args, kwargs, seed=0).structure.data_plate
    assert not any(plate in found[group][site].dims for group in ("posterior", "prior") for site in entry.global_sites)
    assert all(plate in found["posterior"][site].dims for site in entry.latent)


def test_log_q_is_that_of_the_draws_in_the_posterior():
    """Computed again from the exported values alone, without any part of the package."""
    encoder = torch.nn.Linear(3, 4)
    decoder = torch.nn.Linear(2, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        loc, scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    x = torch.randn(600, 3)  # three tiles of rows
    found = groups_of(pv.Pair(model, guide), x, draws=4)
    z = torch.tensor(found["posterior"]["z"].values[0])
    with torch.no_grad():
        loc, scale = encoder(x).chunk(2, -1)
        log_q = dist.Normal(loc, scale.exp()).log_prob(z).double().sum(-1)
        log_x = dist.Normal(decoder(z), 0.5).log_prob(x).double().sum(-1)
        log_p = log_x + dist.Normal(0.0, 1.0).log_prob(z).double().sum(-1)
    stats = found["sample_stats"]
    np.testing.assert_allclose(stats["log_q"][0], log_q.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(stats["log_p"][0], log_p.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(stats["elbo"][0], log_p - log_q, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["log_likelihood"]["x"][0], log_x, rtol=1e-4, atol=1e-4)


def test_masked_entries_are_holes_in_what_was_observed():
    entry = REGISTRY["masked_elements"]
    pair, (x, seen), _ = born(entry)
    found = groups_of(pair, x, seen)
    np.testing.assert_array_equal(found["observed_data"]["x"].isnull(), ~seen)
    np.testing.assert_array_equal(found["constant_data"]["x_mask"], seen)
    assert found["constant_data"]["x_mask"].dims == found["observed_data"]["x"].dims
    np.testing.assert_array_equal(found["observed_data"]["x"].values[seen], x[seen])
    assert bool((found["log_likelihood"]["x"].values[0, :, ~seen] == 0).all())
    assert not bool(found["posterior_predictive"]["x"].isnull().any())


def test_a_site_that_is_observed_in_part_is_one_site():
    pair, (x, y, known), _ = born(REGISTRY["observation_mask"])
    found = groups_of(pair, x, y, known)
    np.testing.assert_array_equal(found["observed_data"]["y"].isnull(), ~known)
    np.testing.assert_array_equal(found["constant_data"]["y_mask"], known)
    predicted = found["posterior_predictive"]["y"].values[0]
    assert bool((predicted.std(0) > 0).all())  # where it is known too
    posterior = found["posterior"]
    np.testing.assert_allclose(posterior["y"].values[0, :, known], np.broadcast_to(y[known], (5, len(y[known]))).T)
    np.testing.assert_array_equal(posterior["y"].values[0, :, ~known], posterior["y_unobserved"].values[0, :, ~known])


def test_whole_numbers_are_integers():
    """Pyro holds counts and bits as floats; plots choose bars by the type."""
    counts = groups_of(pv.truth.GammaPoisson(), torch.tensor([1.0, 0.0, 4.0]))
    assert {counts[g]["x"].dtype for g in ("posterior_predictive", "prior_predictive", "observed_data")} == {
        np.dtype("int64")
    }
    pair, args, _ = born(REGISTRY["grey_unvalidated"])
    grey = groups_of(pair, *args)
    assert grey["posterior_predictive"]["obs"].dtype == np.int8
    assert grey["observed_data"]["obs"].dtype.kind == "f"  # grey, whatever the likelihood says


def test_counts_too_large_for_any_integer_are_an_error():
    def model(x):
        rate = pyro.sample("rate", dist.LogNormal(60.0, 0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    pair = pv.Pair(model, lambda x: pyro.sample("rate", dist.Gamma(x.sum(), 1.0 * len(x))))
    x = torch.tensor([1.0, 2.0])
    with pytest.raises(pv.DataError, match=r"'x' in prior_predictive hold .*too wide"):
        pv.to_arviz(pair, x, draws=3)
    assert "prior" not in groups_of(pair, x, groups=["posterior", "posterior_predictive"])


# Exact answers


def test_under_the_exact_posterior_every_elbo_is_the_evidence(linear):
    x = linear.sample(300, seed=0)
    stats = groups_of(linear, x)["sample_stats"]
    np.testing.assert_allclose(stats["elbo"][0], linear.log_evidence(x).expand(5, -1), atol=3e-5)
    np.testing.assert_allclose(stats["log_weight"][0], float(linear.log_evidence(x).double().sum()), rtol=1e-5)


def test_a_global_sites_share_is_divided_among_the_data():
    """With the guide's draw of everything, each weight of the set is its evidence; a datum's part is an N-th of KL."""
    truth = pv.truth.GammaPoisson(2.0, 1.0)
    x = truth.sample(40)
    found = groups_of(truth, x)
    stats, rate = found["sample_stats"], torch.tensor(found["posterior"]["rate"].values[0])
    np.testing.assert_allclose(stats["log_weight"], float(truth.log_evidence(x)), rtol=1e-5)
    shared = dist.Gamma(2.0, 1.0).log_prob(rate) - truth.posterior(x).log_prob(rate)
    exact = dist.Poisson(rate[:, None]).log_prob(x) + shared[:, None] / 40
    np.testing.assert_allclose(stats["elbo"][0], exact, atol=1e-4)
    assert "local_log_weight" not in stats


def test_local_weights_are_apart_where_a_site_is_global():
    pair, args, kwargs = born(REGISTRY["local_and_global"])
    stats = groups_of(pair, *args, **kwargs)["sample_stats"]
    shared = (stats["elbo"] - stats["local_log_weight"]).values[0]
    np.testing.assert_allclose(shared, shared[:, :1].repeat(shared.shape[1], 1), atol=1e-9)
    assert bool((np.abs(shared) > 0).all())


def test_sites_that_the_model_enumerates_are_drawn_and_summed_out():
    probabilities = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    classes = pv.truth.DiscreteMixture(torch.tensor([0.5, 0.3, 0.2]), probabilities)
    x = classes.sample(30, seed=0)
    found = groups_of(pv.Pair(config_enumerate(classes.model), lambda x: None), x)
    np.testing.assert_allclose(found["sample_stats"]["elbo"][0], classes.log_evidence(x).expand(5, -1), atol=1e-5)
    z = torch.tensor(found["posterior"]["z"].values[0])
    exact = dist.Bernoulli(probabilities[z]).log_prob(x).sum(-1)
    np.testing.assert_allclose(found["log_likelihood"]["x"][0], exact, atol=1e-5)


@pytest.mark.slow
def test_nuts_agrees_with_a_guide_that_holds_the_posterior(linear):
    x = linear.sample(6, seed=1)
    found = pv.check_guide(linear, x, draws=300, warmup=150)["z"]
    assert found.mean.shape == (6, 2)
    assert bool(((found.mean - found.nuts_mean).abs() < 4.5 * found.error).all())
    exact = linear.posterior(x)
    assert bool(((found.nuts_mean - exact.mean).abs() < 4.5 * found.error).all())
    # The standard deviation of a normal, from 300 draws of each, is known to about 6 % each.
    assert bool(((found.ratio - 1).abs() < 0.3).all())
    assert abs(float(found.ratio.mean()) - 1) < 0.08


@pytest.mark.slow
def test_nuts_shows_a_guide_that_is_off_and_too_narrow(linear):
    def guide(x):
        exact = linear.posterior(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(exact.mean + 0.5, 0.5 * exact.variance.sqrt()).to_event(1))

    x = linear.sample(4, seed=1)
    found = pv.check_guide(pv.Pair(linear.model, guide), x, draws=200, warmup=100)["z"]
    assert bool(((found.mean - found.nuts_mean).abs() > 4.5 * found.error).all())
    assert bool((found.ratio < 0.7).all())


def test_nuts_sees_trained_parameters_and_leaves_them():
    def model(x):
        rate = pyro.param("shape", torch.tensor(1.0))
        w = pyro.sample("w", dist.Normal(rate, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    pair = pv.Pair(model, lambda x: pyro.sample("w", dist.Normal((5 + x.sum()) / 4, 0.5)))
    x = torch.tensor([1.0, 2.0, 3.0])
    run(pair, (x,), {})
    pyro.get_param_store()["shape"] = torch.tensor(5.0)
    state = torch.get_rng_state()
    found = pv.check_guide(pair, x, draws=200, warmup=100)["w"]
    assert abs(float(found.mean - found.nuts_mean)) < 4.5 * float(found.error)
    assert float(pyro.get_param_store()["shape"].detach()) == 5.0
    assert torch.equal(torch.get_rng_state(), state)


def test_nuts_on_a_part_of_the_data_is_refused():
    truth = pv.truth.BetaBernoulli(size=40)
    with pytest.raises(pv.ArgumentError, match="2 times the 20 rows"):
        pv.check_guide(truth, truth.sample(20), draws=5, warmup=5)


def test_nuts_that_does_not_run_says_so():
    pair, args, kwargs = born(REGISTRY["maximum_likelihood"])
    with pytest.raises(pv.PairError, match="no latent site"):
        pv.check_guide(pair, *args, **kwargs, draws=5, warmup=5)
    with pytest.raises(pv.ArgumentError, match="warmup=0"):
        pv.check_guide(pair, *args, **kwargs, warmup=0)


# Names of dims, and labels


def test_dims_and_labels_are_those_that_were_given():
    pair, (x,), _ = born(REGISTRY["plain_functions"])
    genes = [f"gene {number}" for number in range(12)]
    donors = [f"donor {number % 4}" for number in range(32)]
    cells = np.arange(100, 132)
    found = groups_of(pair, x, dims={"x": ["gene"]}, coords={"gene": genes, "donor": ("data", donors), "data": cells})
    for group in ("posterior_predictive", "prior_predictive", "observed_data"):
        x = found[group]["x"]
        assert x.dims[-2:] == ("data", "gene")
        assert x["gene"].values.tolist() == genes
        assert x["donor"].values.tolist() == donors
        assert x["data"].values.tolist() == cells.tolist()
    assert found["posterior"]["z"].dims == ("chain", "draw", "data", "z_dim_0")
    assert "gene" not in found["posterior"].coords


def test_names_that_xarray_and_files_cannot_take():
    """A plate of a site's name, a slash, and a site called draw."""

    def model(y):
        with pyro.plate("y", len(y)):
            a = pyro.sample("scope/a", dist.Normal(0.0, 1.0))
            b = pyro.sample("draw", dist.Normal(a, 1.0))
            pyro.sample("y", dist.Normal(b, 1.0), obs=y)

    def guide(y):
        with pyro.plate("y", len(y)):
            pyro.sample("scope/a", dist.Normal(y, 1.0))
            pyro.sample("draw", dist.Normal(y, 1.0))

    found = groups_of(pv.Pair(model, guide), torch.zeros(3))
    assert found["observed_data"]["y"].dims == ("y_plate",)
    assert set(found["posterior"].data_vars) == {"scope.a", "draw_"}
    assert found["posterior"]["scope.a"].attrs == {"site": "scope/a"}
    assert found["posterior"]["draw"].values.tolist() == list(range(5))


def test_a_plate_that_only_broadcasts_a_site():
    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("repeats", 3, dim=-1):
            pyro.sample("x", dist.Normal(torch.zeros(len(x), 1), 1.0), obs=x)

    x = torch.zeros(4, 1)  # one value for the three
    found = groups_of(pv.Pair(model, lambda x: None), x)
    assert found["observed_data"]["x"].shape == (4, 1)
    assert found["log_likelihood"]["x"].sizes == {"chain": 1, "draw": 5, "data": 4, "repeats": 3}


# What is given and what is asked for


def shuffled_loader(x):
    dataset = torch.utils.data.TensorDataset(x)
    return torch.utils.data.DataLoader(dataset, batch_size=7, shuffle=True)


def test_what_a_loader_yields_is_read_once():
    """Every pass over a shuffled loader sees another order: the rows of one group would be other rows in the next."""
    truth = pv.truth.LinearGaussian(torch.eye(3, 2), torch.zeros(3), 0.5)
    x = truth.sample(40, seed=3)
    found = groups_of(truth, shuffled_loader(x))
    observed = torch.tensor(found["observed_data"]["x"].values)
    assert sorted(map(tuple, observed.tolist())) == sorted(map(tuple, x.tolist()))
    np.testing.assert_allclose(found["sample_stats"]["elbo"][0], truth.log_evidence(observed).expand(5, -1), atol=3e-5)


def test_covariates_have_the_names_of_arguments():
    pair, args, _ = born(REGISTRY["covariates"])
    found = groups_of(pair, *args, dims={"c": ["class"]}, coords={"class": ["a", "b", "c"]})
    c = found["constant_data"]["c"]
    assert c.dims == ("data", "class")
    np.testing.assert_array_equal(c, args[1])
    pair, args, _ = born(REGISTRY["time_steps"])  # the observed argument in columns, one a site
    assert {name for name in groups_of(pair, *args)["constant_data"] if "mask" not in name} == {"lengths"}


def test_one_row_and_one_draw():
    pair, (x, c), _ = born(REGISTRY["covariates"])
    found = groups_of(pair, x[:1], c[:1], draws=1)
    assert found["posterior"]["z"].shape == (1, 1, 1, 2)
    assert found["observed_data"]["x"].shape == (1, 12)
    assert list(found["constant_data"].data_vars) == ["c"]


def test_rows_that_are_all_alike():
    truth = pv.truth.GammaPoisson()
    assert "constant_data" not in groups_of(truth, torch.ones(5))


def test_groups_that_are_asked_for_are_the_same_as_among_all(linear):
    x = linear.sample(20)
    whole = groups_of(linear, x)
    for name, dataset in whole.items():
        (alone,) = groups_of(linear, x, groups=[name]).values()
        assert alone.equals(dataset), name
    other = groups_of(linear, x, seed=1)["posterior"]["z"]
    assert not other.equals(whole["posterior"]["z"])


def test_attributes_say_where_it_comes_from(linear):
    data = pv.to_arviz(linear, linear.sample(3), draws=4, seed=11)
    assert data.attrs["seed"] == 11
    assert data.attrs["draws"] == 4
    assert data.attrs["pair"] == "pyrovae.models.truth.linear_gaussian.LinearGaussian"
    assert data.attrs["creation_library_version"] == pv.__version__
    assert {"arviz_version", "torch_version", "inference_library_version", "created_at"} <= set(data.attrs)
    functions = pv.to_arviz(pv.Pair(linear.model, linear.guide), linear.sample(3), draws=4)
    assert functions.attrs["pair"] == "model LinearGaussian.model, guide LinearGaussian.guide"


def test_the_callers_state_is_left_alone(linear):
    state = torch.get_rng_state()
    pv.to_arviz(linear, linear.sample(3), draws=4, seed=None)
    assert torch.equal(torch.get_rng_state(), state)
    assert not set(pyro.get_param_store().keys())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 0}, "draws=0; give a whole number"),
        ({"draws": -3}, "draws=-3"),
        ({"draws": 2.5}, "draws=2.5"),
        ({"groups": ["posterios"]}, r"groups=\['posterios'\]: there is no such group.*posterior_predictive"),
        ({"groups": []}, "groups is empty"),
        ({"dims": {"w": ["a"]}}, "dims: no variable is called 'w'.*x, z"),
        ({"dims": {"x": ["a", "b"]}}, r"dims\['x'\] has 2 names, a, b; in .* 1 axes that are no plates, behind data"),
        ({"dims": {"x": ["z"]}}, "'z' is the name of something else"),
        ({"dims": {"x": ["data"]}}, "'data' has 4 entries here and 6 elsewhere|each axis needs a name of its own"),
        ({"dims": {"x": [3]}}, "give a list of names"),
        ({"dims": {"x": ["k"], "z": ["k"]}}, "'k' has .* entries here and .* elsewhere"),
        ({"coords": {"gene": list("abcd")}}, "no dim is called 'gene'. The dims: .*x_dim_0"),
        ({"coords": {"data": [1, 2]}}, r"coords\['data'\] has shape \(2,\); along 'data' stand 6"),
        ({"coords": {"x": ("data", range(6))}}, r"coords\['x'\]: a variable has this name"),
        ({"out": "results.csv"}, "must end in .nc"),
    ],
)
def test_what_cannot_be_is_said(linear, options, words):
    with pytest.raises(pv.ArgumentError, match=words):
        pv.to_arviz(linear, linear.sample(6), **options)


def test_more_than_memory_holds_is_refused_before_anything_is_drawn(linear):
    with pytest.raises(pv.ArgumentError, match=r"GiB, more than this machine's memory, most of it .*out="):
        pv.to_arviz(linear, linear.sample(6), draws=10**12)


def test_data_of_another_shape_and_parameters_that_do_not_exist(linear):
    with pytest.raises(pv.PairError, match="does not run on these data"):
        pv.to_arviz(linear, torch.zeros(3, 7))
    pair, data = REGISTRY["constrained_params"].make()
    with pytest.raises(pv.PairError, match="do not exist yet"):
        pv.to_arviz(pair, data)


# Files


@ENDINGS
def test_what_is_written_as_it_comes_is_what_memory_would_hold(linear, tmp_path, ending, monkeypatch):
    monkeypatch.setattr(sampler_module, "_TILE_NUMBERS", 2**12)  # several tiles of draws, as with large data
    x = linear.sample(600)
    options = {"coords": {"donor": ("data", [f"donor {n % 5}" for n in range(600)])}, "dims": {"x": ["gene"]}}
    written = to_groups(pv.to_arviz(linear, x, draws=9, out=tmp_path / f"results{ending}", **options))
    whole = groups_of(linear, x, draws=9, **options)
    assert list(written) == list(whole)
    for name, dataset in whole.items():
        assert written[name].load().equals(dataset), name
        assert {**written[name].attrs, "created_at": ""} == {**dataset.attrs, "created_at": ""}


@ENDINGS
@pytest.mark.parametrize("name", ["observation_mask", "enumerated_prior", "local_and_global", "keywords", "time_steps"])
def test_other_styles_are_written_too(tmp_path, ending, name):
    pair, args, kwargs = born(REGISTRY[name])
    path = tmp_path / f"results{ending}"
    written = to_groups(pv.to_arviz(pair, *args, **kwargs, draws=3, out=path))
    for name, dataset in groups_of(pair, *args, **kwargs, draws=3).items():
        assert written[name].load().equals(dataset), name


@ENDINGS
def test_an_output_that_is_there_is_left_as_it_is(linear, tmp_path, ending):
    path = tmp_path / f"results{ending}"
    path.write_text("mine")
    with pytest.raises(pv.FileError, match="exists"):
        pv.to_arviz(linear, linear.sample(6), out=path)
    assert path.read_text() == "mine"


@ENDINGS
def test_a_run_that_breaks_off_leaves_nothing(tmp_path, ending):
    broken = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if broken and len(x) == 8 * 20:
                raise KeyboardInterrupt
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))
        broken.append(True)

    with pytest.raises(KeyboardInterrupt):
        pv.to_arviz(pv.Pair(model, guide), torch.zeros(20), draws=8, out=tmp_path / f"results{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_arvizs_own_files_hold_the_same(linear, tmp_path):
    data = pv.to_arviz(linear, linear.sample(6), draws=4)
    data.to_netcdf(tmp_path / "own.nc")
    again = to_groups(arviz().from_netcdf(tmp_path / "own.nc"))
    written = pv.to_arviz(linear, linear.sample(6), draws=4, out=tmp_path / "ours.nc")
    for name, dataset in to_groups(written).items():
        assert again[name].load().equals(dataset.load()), name
    read = to_groups(arviz().from_netcdf(tmp_path / "ours.nc"))
    assert read["posterior"].load().equals(again["posterior"])


# What ArviZ makes of it

# ArviZ 0.x is not kept in step with pandas and matplotlib any more; 1.x has advice on the choice of plots.
OTHERS = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def counts():
    """Sixty counts, a guide that holds the posterior, and a worse model of the same data."""
    truth, worse = pv.truth.GammaPoisson(2.0, 1.0), pv.truth.GammaPoisson(200.0, 20.0)
    x = truth.sample(60, seed=1)
    return truth, x, pv.to_arviz(truth, x, draws=1000), pv.to_arviz(worse, x, draws=1000)


@pytest.mark.slow
def test_the_object_is_that_of_the_generation(counts):
    kind = {0: "InferenceData", 1: "DataTree"}[generation()]
    assert type(counts[2]).__name__ == kind


def test_summary_has_the_posteriors_moments(counts):
    truth, x, data, _ = counts
    row = quietly(arviz().summary, data, round_to="none" if generation() else None).loc["rate"]
    exact = truth.posterior(x)
    assert abs(float(row["mean"]) - float(exact.mean)) < 4 * float(exact.variance.sqrt()) / 1000**0.5
    assert abs(float(row["sd"]) / float(exact.variance.sqrt()) - 1) < 0.1


def test_loo_is_the_exact_leave_one_out_density(counts):
    """All sites are global, and the guide is the posterior: PSIS-LOO estimates a sum that is known in closed form."""
    truth, x, data, _ = counts
    rest = [torch.cat([x[:n], x[n + 1 :]]) for n in range(len(x))]
    exact = sum(float(truth.log_predictive(x[n : n + 1], given)) for n, given in enumerate(rest))
    found = arviz().loo(data)
    assert not found.warning
    assert abs(float(found.elpd_loo if generation() == 0 else found.elpd) - exact) < 0.1


@OTHERS
def test_compare_prefers_the_model_of_the_data(counts):
    table = arviz().compare({"good": counts[2], "worse": counts[3]})
    assert table.index[0] == "good"


@pytest.mark.skipif(generation() == 0, reason="ArviZ 0.x has no loo_approximate_posterior")
def test_a_guide_that_is_off_is_corrected_by_its_densities(counts):
    """log p and log q make the draws of a guide that is too wide into draws of the posterior."""
    truth, x, *_ = counts

    def guide(x):
        exact = truth.posterior(x)
        pyro.sample("rate", dist.Gamma(0.6 * exact.concentration, 0.6 * exact.rate))

    data = pv.to_arviz(pv.Pair(truth.model, guide), x, draws=4000)
    stats = data["sample_stats"]
    corrected = arviz().loo_approximate_posterior(data, stats["log_p"], stats["log_q"])
    exact = arviz().loo(counts[2])
    assert abs(corrected.elpd - exact.elpd) < 0.15
    assert abs(corrected.p - exact.p) < 0.15
    assert abs(arviz().loo(data).p - exact.p) > 0.4  # as if the draws were the posterior's


@OTHERS
def test_predictive_checks_and_plots_are_drawn(counts):
    import matplotlib.pyplot as pyplot

    az, data = arviz(), counts[2]
    if generation() == 0:
        shown = [az.plot_ppc(data, num_pp_samples=20), az.plot_trace(data), az.plot_posterior(data)]
        figures = [np.ravel(axes)[0].figure for axes in shown]
    else:
        shown = [
            az.plot_ppc_dist(data),
            az.plot_ppc_rootogram(data),
            az.plot_trace_dist(data),
            az.plot_dist(data),
            az.plot_ppc_pit(data),
        ]
        figures = [one.viz["figure"].item() for one in shown]
    for figure in figures:
        figure.canvas.draw()
        assert np.asarray(figure.canvas.buffer_rgba())[..., :3].std() > 5  # not an empty page
    pyplot.close("all")


def quietly(function, *args, **options):
    """ArviZ 0.x logs that one chain is no test of convergence; there is no chain here that could converge."""
    logging.disable(logging.WARNING)
    try:
        return function(*args, **{name: value for name, value in options.items() if value is not None})
    finally:
        logging.disable(logging.NOTSET)


# What the model alone draws


@pytest.mark.parametrize("around", [lambda model: model, config_enumerate], ids=["drawn", "summed"])
def test_a_site_of_the_model_alone_that_all_rows_share(around):
    @around
    def model(x):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.tensor([-1.0, 2.0])[k], 1.0), obs=x)

    x = torch.tensor([1.5, 2.5])
    found = groups_of(pv.Pair(model, lambda x: None), x, draws=4)
    assert {found[group]["k"].dims for group in ("posterior", "prior")} == {("chain", "draw")}
    stats = found["sample_stats"]
    if around is config_enumerate:
        each = torch.stack([dist.Normal(loc, 1.0).log_prob(x).sum() for loc in (-1.0, 2.0)])
        np.testing.assert_allclose(stats["log_weight"], float((each + torch.tensor([0.3, 0.7]).log()).logsumexp(0)))
        assert "elbo" not in stats  # of no datum by itself
    else:
        np.testing.assert_allclose(stats["log_weight"][0], found["log_likelihood"]["x"][0].sum("data"), rtol=1e-5)


def test_nuts_is_not_asked_of_discrete_sites_and_knows_constants():
    def model(x):
        with pyro.plate("data", len(x)):
            s = pyro.sample("s", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(s, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("s", dist.Bernoulli(0.4))

    with pytest.raises(pv.PairError, match=r"discrete.*nothing is to compare"):
        pv.check_guide(pv.Pair(model, guide), torch.zeros(2), draws=5, warmup=5)

    def correlated(x):
        factor = pyro.sample("factor", dist.LKJCholesky(2, torch.tensor(2.0)))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=x)

    pair = pv.Pair(correlated, lambda x: pyro.sample("factor", dist.LKJCholesky(2, torch.tensor(2.0))))
    with torch.no_grad():  # NUTS turns its gradients on
        found = pv.check_guide(pair, torch.randn(3, 2), draws=20, warmup=10)["factor"]
    assert float(found.error[0, 1]) == 0
    assert bool(found.error.isfinite().all())


def test_latents_that_a_mask_hides_are_refused_by_nuts():
    def model(x, seen):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=seen):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, seen):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=seen):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    x, pair = torch.randn(3), pv.Pair(model, guide)
    with pytest.raises(pv.DataError, match="a mask hides a part of 'z'"):
        pv.check_guide(pair, x, torch.tensor([True, True, False]), draws=5, warmup=5)
    assert set(pv.check_guide(pair, x, torch.ones(3, dtype=torch.bool), draws=5, warmup=5)) == {"z"}


# More rows than a tile holds


def test_what_all_rows_share_is_counted_once_and_divided_by_all_of_them():
    truth = pv.truth.GammaPoisson(2.0, 1.0)
    x = truth.sample(600)
    pair = pv.Pair(truth.model, lambda x: pyro.sample("rate", dist.Gamma(50.0, 25.0)))  # looks at no rows: tiles
    found = groups_of(pair, x, draws=3, groups=["posterior", "log_likelihood", "sample_stats"])
    stats, rate = found["sample_stats"], torch.tensor(found["posterior"]["rate"].values[0])
    shared = dist.Gamma(2.0, 1.0).log_prob(rate) - dist.Gamma(50.0, 25.0).log_prob(rate)
    each = found["log_likelihood"]["x"].values[0]
    np.testing.assert_allclose(stats["log_weight"][0], each.sum(1) + shared.numpy(), rtol=1e-5)
    np.testing.assert_allclose(stats["elbo"][0], each + shared[:, None].numpy() / 600, rtol=1e-5, atol=1e-5)


def test_fractions_far_down_are_not_cut_off():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(0.5 + torch.zeros(len(x)), validate_args=False), obs=x)

    x = torch.ones(300)
    x[280] = 0.25
    found = groups_of(pv.Pair(model, lambda x: None), x, draws=2, groups=["observed_data"])["observed_data"]["x"]
    np.testing.assert_array_equal(found, x)


def test_axes_of_one_length_need_two_names():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2), obs=x)

    with pytest.raises(pv.ArgumentError, match="each axis needs a name of its own"):
        pv.to_arviz(pv.Pair(model, lambda x: None), torch.zeros(3, 2, 2), draws=2, dims={"x": ["side", "side"]})


def test_a_seed_that_was_not_given_is_in_the_attributes(linear):
    x = linear.sample(3)
    first = groups_of(linear, x, draws=2, seed=None)["posterior"]
    again = groups_of(linear, x, draws=2, seed=int(first.attrs["seed"]))["posterior"]
    np.testing.assert_array_equal(first["z"], again["z"])


def test_groups_that_fit_one_by_one_may_be_too_many(linear, monkeypatch):
    x = linear.sample(10)  # 500 draws: x takes 80,000 bytes, and all together several times that
    monkeypatch.setattr(group_targets.os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 150_000)
    with pytest.raises(pv.ArgumentError, match="more than this machine's memory"):
        pv.to_arviz(linear, x, draws=500)
    assert "x" in groups_of(linear, x, draws=500, groups=["posterior_predictive"])["posterior_predictive"]


def test_what_is_computed_of_latent_sites_is_no_observed_data(caplog):
    def model(x):
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("residual", dist.Normal(0.0, 1.0), obs=x - level)
            pyro.sample("x", dist.Normal(level, 1.0), obs=x)

    def guide(x):
        pyro.sample("level", dist.Normal(0.0, 1.0))

    found = pv.to_arviz(pv.Pair(model, guide), torch.randn(5), draws=3, groups=["observed_data", "posterior"])
    assert set(found["observed_data"].data_vars) == {"x"}
    assert "'residual' is computed of latent sites" in caplog.text
