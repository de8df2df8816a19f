"""Coverage, ranks, scores and reliability against known answers; simulation-based calibration of guides."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from registry import REGISTRY, ROWS, born, pairs

import pyrovae as pv
from pyrovae.errors import ArgumentError, PairError
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.amortisation import guide_reads
from pyrovae.trust.calibration import covered
from pyrovae.trust.predictions import source_for
from pyrovae.trust.proper_scores import Scoring
from pyrovae.trust.ranks import uniform_band
from pyrovae.trust.simulation_based_calibration import SimulatedData, likelihood_ranks


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(width: int = 3) -> pv.truth.LinearGaussian:
    generator = torch.Generator().manual_seed(5)
    weight, mean = torch.randn(width, 2, generator=generator), torch.randn(width, generator=generator)
    return pv.truth.LinearGaussian(weight, mean, 0.5)


def with_scale(truth: pv.truth.LinearGaussian, factor: float) -> pv.Pair:
    """The truth with a guide that is too narrow or too wide by a factor."""

    def guide(x):
        posterior = truth.posterior(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(posterior.mean, factor**2 * posterior.covariance_matrix))

    return pv.Pair(truth.model, guide)


# Ranks and their band


def spread_out(ranks, power):
    """Ranks further from the middle for a power below 1, nearer to it above."""
    return 0.5 + torch.sign(ranks - 0.5) * (2 * (ranks - 0.5).abs()) ** power / 2


def test_the_band_holds_uniform_ranks_as_often_as_it_says():
    outside = [bool(pv.Ranks.of(uniform(100, 2, seed=seed), level=0.8).outside.any()) for seed in range(500)]
    # Both curves stay inside with probability 0.8: 0.2 of 500, with a standard deviation of 0.018.
    assert sum(outside) / 500 == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(("count", "curves"), [(3, 1), (5, 8), (20, 1), (100, 1)])
def test_few_uniform_ranks_are_not_blamed_for_lying_on_the_edge(count, curves):
    outside = [bool(pv.Ranks.of(uniform(count, curves, seed=seed)).outside.any()) for seed in range(1_000)]
    # Shares of few ranks take few values, so the band may hold more than 0.95; 0.007 is a standard deviation.
    assert sum(outside) / 1_000 < 0.05 + 3 * 0.007


@pytest.mark.parametrize("alike", [True, False])
def test_pooled_ranks_count_rows_not_elements_where_these_depend_on_each_other(alike):
    outside = []
    for seed in range(60):
        values = uniform(2_000, 1, seed=seed).expand(2_000, 5) if alike else uniform(2_000, 5, seed=seed)
        ranks = pv.Ranks.of(values, level=0.8, pooled=True)
        outside.append(bool(ranks.outside))
    # 0.2 of 60 has a standard deviation of 0.05; the band may be a bit too wide, and so be left less often.
    assert 0.05 < sum(outside) / 60 < 0.35
    widths = [pv.Ranks.of(uniform(2_000, n), level=0.8, pooled=True) for n in (1, 5)]
    widths = [float((ranks.upper - ranks.lower).mean()) for ranks in (*widths, ranks)]
    assert widths[2] / widths[0] == pytest.approx(1 if alike else 1 / math.sqrt(5), rel=0.1)


def test_the_band_narrows_with_the_square_root():
    widths = [
        torch.tensor(upper) - torch.tensor(lower)
        for lower, upper in (uniform_band(n, (0.5,), 0.95) for n in (100, 10_000))
    ]
    assert float(widths[0] / widths[1]) == pytest.approx(10, rel=0.1)
    lower, upper = uniform_band(10_000, (0.5,), 0.95)
    assert upper[0] - lower[0] == pytest.approx(2 * 1.96 * 0.005, rel=0.05)


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda u: u, "uniform within the band"),
        (lambda u: spread_out(u, 0.5), "draws are too narrow"),
        (lambda u: spread_out(u, 2.0), "draws are too wide"),
        (lambda u: u**1.5, "draws are too high"),
        (lambda u: u**0.7, "draws are too low"),
        (lambda u: spread_out(u**0.8, 0.7), "draws are too low and too narrow"),
    ],
)
def test_the_verdict_says_what_is_wrong(bend, words):
    assert pv.Ranks.of(bend(uniform(2_000))).verdict == words
    assert pv.Ranks.of(bend(uniform(2_000, 2)), pooled=True).verdict == words


@pytest.mark.parametrize("draws", [1, 4])
def test_ranks_of_discrete_values_are_uniform_for_any_number_of_draws(draws):
    outside = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        counts = torch.poisson(torch.full((draws + 1, 500), 2.0), generator=generator)
        scoring = Scoring(counts[0], torch.ones(500, dtype=torch.bool))
        scoring.add(counts[1:])
        pyro.set_rng_seed(seed)
        outside.append(bool(pv.Ranks.of(scoring.scores().ranks, level=0.8).outside))
    assert sum(outside) / 60 == pytest.approx(0.2, abs=0.15)  # three standard deviations


# Proper scores


def test_crps_and_energy_score_are_fair_and_right_for_a_normal():
    y, draws = 0.7, 3
    x = torch.randn(draws, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scoring = Scoring(torch.full((200_000,), y, dtype=torch.float64), torch.ones(200_000, dtype=torch.bool))
    scoring.add(x)
    scores = scoring.scores()
    normal = torch.distributions.Normal(0.0, 1.0)
    density = float(normal.log_prob(torch.tensor(y)).exp())
    exact = y * (2 * float(normal.cdf(torch.tensor(y))) - 1) + 2 * density - 1 / math.sqrt(math.pi)
    error = float(scores.crps.std()) / math.sqrt(200_000)
    assert float(scores.crps.mean()) == pytest.approx(exact, abs=3 * error)
    assert torch.allclose(scores.crps, scores.energy)  # of one element they are the same


def test_the_energy_score_of_a_spherical_normal():
    size, width = 100_000, 4
    x = torch.randn(3, size, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scoring = Scoring(torch.zeros(size, width, dtype=torch.float64), torch.ones(size, width, dtype=torch.bool))
    scoring.add(x)
    energy = scoring.scores().energy
    chi = math.sqrt(2) * math.gamma((width + 1) / 2) / math.gamma(width / 2)  # the mean length of x
    exact = chi - math.sqrt(2) * chi / 2
    assert float(energy.mean()) == pytest.approx(exact, abs=3 * float(energy.std()) / math.sqrt(size))


def test_scores_do_not_depend_on_the_parts_in_which_draws_come():
    x, truth = torch.randn(30, 5, 2), torch.randn(5, 2)
    results = []
    for size in (30, 7, 1):
        scoring = Scoring(truth, torch.ones(5, 2, dtype=torch.bool))
        for part in x.split(size):
            scoring.add(part)
        pyro.set_rng_seed(0)
        results.append(scoring.scores())
    for other in results[1:]:
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(results[0], other, strict=True))


# Calibration on the truth


@pytest.mark.parametrize("source", [None, "residual"])
def test_coverage_of_the_exact_pair_is_nominal(source):
    truth = linear()
    result = pv.calibration(truth, truth.sample(1_500, seed=1), draws=60, source=source)["x"]
    assert result.source == (source or "model")
    assert bool(((result.coverage - result.levels).abs() < 3 * result.error).all())
    assert bool((result.error < 0.02).all())
    assert result.verdict == "uniform within the band"
    assert result.pit.values.shape == (1_500, 3)
    assert result.crps.shape == result.energy.shape == (1_500,)
    assert result.reliability is None


def test_a_prediction_that_knows_the_answer_is_too_wide():
    truth = linear()
    result = pv.calibration(truth, truth.sample(500, seed=1), draws=60, source="rest")["x"]
    assert result.verdict == "draws are too wide"


@pytest.mark.parametrize(("factor", "words"), [(0.1, "draws are too wide"), (3.0, "draws are too narrow")])
def test_residuals_show_a_guide_that_does_not_fit_the_noise(factor, words):
    # Around a z too near to the best one, the noise is less than the likelihood says.
    truth = linear()
    pair = with_scale(truth, factor)
    assert pv.calibration(pair, truth.sample(800, seed=1), draws=60, source="residual")["x"].verdict == words


def regression(scale: float = 1.0):
    """y = x + noise of scale 1, predicted with another; the guide never sees y."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(z, scale), obs=y)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    z, one, two = torch.randn(3, 1_500, generator=torch.Generator().manual_seed(2))
    return pv.Pair(model, guide), (z + one, z + two)


@pytest.mark.parametrize(
    ("scale", "words"), [(1.0, "uniform within the band"), (0.3, "draws are too narrow"), (3.0, "draws are too wide")]
)
def test_what_the_guide_does_not_see_is_predicted_from_the_rest(scale, words):
    pair, data = regression(scale)
    results = pv.calibration(pair, *data, draws=60)
    assert (results["x"].source, results["y"].source) == ("model", "rest")
    assert results["y"].verdict == words
    if scale == 1:
        # Var(y | x) = 1.5, so a mean CRPS of sqrt(1.5 / pi).
        crps = results["y"].crps
        error = float(crps.std()) / math.sqrt(len(crps))
        assert float(crps.mean()) == pytest.approx(math.sqrt(1.5 / math.pi), abs=3 * error)


def classifier(sharpness: float):
    """Labels of three classes whose log-odds are those of x; said with another sharpness."""

    def model(x, label):
        with pyro.plate("data", len(x)):
            pyro.sample("label", dist.Categorical(logits=sharpness * x), obs=label)

    x = torch.randn(1_500, 3, generator=torch.Generator().manual_seed(3))
    pyro.set_rng_seed(3)
    return pv.Pair(model, lambda x, label: None), (x, dist.Categorical(logits=x).sample())


def test_reliability_of_exact_probabilities_is_what_chance_leaves():
    pair, data = classifier(1.0)
    result = pv.calibration(pair, *data, draws=60)["label"]
    reliability = result.reliability
    assert reliability.expected_error < 2 * reliability.by_chance
    known = reliability.count > 0
    assert bool(((reliability.found - reliability.said).abs() < 4 * reliability.error + 0.05)[known].all())
    assert float(reliability.count.sum()) == 1_500
    assert result.verdict == "uniform within the band"
    probs = torch.softmax(data[0], -1)
    brier = (probs - torch.nn.functional.one_hot(data[1], 3)).square().mean(-1)
    assert float(result.crps.mean()) == pytest.approx(float(brier.mean()), abs=0.01)


def test_overconfident_probabilities_are_seen():
    pair, data = classifier(4.0)
    reliability = pv.calibration(pair, *data, draws=20)["label"].reliability
    assert reliability.expected_error > 5 * reliability.by_chance


def test_binary_sites_are_calibrated_on_the_truth():
    generator = torch.Generator().manual_seed(0)
    truth = pv.truth.DiscreteMixture(torch.tensor([0.3, 0.7]), 0.1 + 0.8 * torch.rand(2, 4, generator=generator))
    result = pv.calibration(truth, truth.sample(1_000, seed=0), draws=60, source="residual")["x"]
    assert result.verdict == "uniform within the band"
    assert bool(((result.coverage - result.levels).abs() < 3 * result.error).all())
    assert result.reliability.expected_error < 2 * result.reliability.by_chance


def test_errors_count_rows_where_elements_go_together():
    levels = torch.tensor([0.5, 0.9], dtype=torch.float64)
    ranks = uniform(2_000, 1)
    share, error = covered(ranks, levels)
    assert torch.allclose(error, (share * (1 - share) / 2_000).sqrt(), rtol=0.01)
    assert torch.allclose(covered(ranks.expand(2_000, 50), levels)[1], error)
    apart = covered(uniform(2_000, 50), levels)[1]
    assert torch.allclose(apart, error / math.sqrt(50), rtol=0.2)
    all_inside = covered(torch.full((100, 1), 0.5), levels)
    assert torch.allclose(all_inside[1], (levels * (1 - levels)).sqrt() / 100)  # small, but not 0


def test_what_chance_leaves_counts_rows_where_elements_go_together():
    said = torch.full((400, 50), 0.5)
    happened = (uniform(400, 1) < 0.5).double()
    together = pv.Reliability.of(said, happened.expand(400, 50))
    assert together.by_chance == pytest.approx(math.sqrt(2 / math.pi) * 0.5 / math.sqrt(400), rel=0.05)
    assert float(together.error.nansum()) == pytest.approx(0.5 / math.sqrt(400), rel=0.05)
    apart = pv.Reliability.of(said, (uniform(400, 50) < 0.5).double())
    assert apart.by_chance == pytest.approx(together.by_chance / math.sqrt(50), rel=0.2)


def test_masked_elements_count_nowhere():
    pair, (x, seen), _ = born(REGISTRY["masked_elements"])
    other = torch.where(seen, x, torch.tensor(50.0))
    one, two = (pv.calibration(pair, value, seen, draws=10)["x"] for value in (x, other))
    assert torch.equal(one.pit.values.isnan(), ~seen)
    assert torch.equal(one.coverage, two.coverage)
    assert torch.equal(one.crps, two.crps)
    assert torch.equal(one.energy, two.energy)
    pyro.clear_param_store()
    pair, (x, label, known), _ = born(REGISTRY["masked_rows"])
    result = pv.calibration(pair, x, label, known, draws=10)["label"]
    assert torch.equal(result.crps.isnan(), ~known)
    assert float(result.reliability.count.sum()) == int(known.sum())


# Any pair


@pytest.mark.parametrize("entry", pairs())
def test_any_pair_can_be_looked_at(entry):
    pair, args, kwargs = born(entry)
    state, names = torch.get_rng_state(), set(pyro.get_param_store().keys())
    results = pv.calibration(pair, *args, draws=7, **kwargs)
    assert set(results) == {site.removesuffix("_observed") for site in entry.observed}
    for site, result in results.items():
        values = result.pit.values
        assert values.shape[0] == (1 if site in entry.beside_rows else ROWS)
        known = values[~values.isnan()]
        assert len(known)
        assert float(known.min()) >= 0
        assert float(known.max()) <= 1
        assert bool(result.coverage.isfinite().all())
        assert bool(result.energy[~result.crps.isnan()].isfinite().all())
    again = pv.calibration(pair, *args, draws=7, **kwargs)
    assert all(torch.equal(results[site].crps, again[site].crps) for site in results if "masked" not in entry.traits)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(pyro.get_param_store().keys()) == names


def test_it_is_found_out_what_the_guide_looks_at():
    looks = {}
    for name in ("keywords", "masked_rows", "covariates", "auto_normal", "maximum_likelihood", "observation_mask"):
        pyro.clear_param_store()
        pair, args, kwargs = born(REGISTRY[name])
        sampler = Sampler.of(pair, args, kwargs, seed=0)
        looks[name] = {site: source_for(sampler, site) for site in REGISTRY[name].observed}
    assert looks == {
        "keywords": {"image": "model", "label": "rest"},
        "masked_rows": {"x": "model", "label": "rest"},
        "covariates": {"x": "model"},
        "auto_normal": {"y": "rest"},
        "maximum_likelihood": {"y": "rest"},
        "observation_mask": {"x": "model", "y_observed": "rest"},
    }


@pytest.mark.parametrize(("looking", "certain"), [(True, False), (False, False), (True, True)])
def test_a_guide_that_looks_is_found_out_on_rows_of_one_class(looking, certain):
    def model(x, label):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            probs = torch.ones_like(z) if certain else z.sigmoid()
            pyro.sample("label", dist.Bernoulli(probs), obs=label)

    def guide(x, label):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x + label * looking, 1.0))

    data = torch.randn(50), torch.ones(50)
    sampler = Sampler.of(pv.Pair(model, guide), data, {}, seed=0)
    # Where the model itself knows no other label either, nothing can be found out, and the worse is assumed.
    assert guide_reads(sampler, next(sampler.tiles(1)).batch, "label") == looking


# Simulation-based calibration


@pytest.mark.parametrize("make", ["linear", "mixture", "beta", "gamma"])
@pytest.mark.slow
def test_the_exact_posterior_passes(make):
    linear_truth = linear()
    mixture = pv.truth.DiscreteMixture(torch.tensor([0.3, 0.7]), torch.tensor([[0.2, 0.4, 0.9], [0.6, 0.3, 0.1]]))
    truth, x, simulations = {
        "linear": (linear_truth, linear_truth.sample(200), 4),
        "mixture": (mixture, mixture.sample(200), 4),
        "beta": (pv.truth.BetaBernoulli(2.0, 1.0), torch.ones(8), 60),
        "gamma": (pv.truth.GammaPoisson(2.0, 1.0), torch.ones(8), 60),
    }[make]
    result = pv.simulation_based_calibration(truth, x, simulations=simulations, draws=20, level=0.99)
    assert not result.troubled, result.verdict
    (site,) = result.sites
    local = make in ("linear", "mixture")
    assert len(result.sites[site].values) == simulations * (len(x) if local else 1)
    assert len(result.log_likelihood.values) == simulations * (len(x) if local else 1)


@pytest.mark.parametrize(("factor", "words"), [(0.6, "draws are too narrow"), (1.6, "draws are too wide")])
def test_a_guide_of_the_wrong_width_is_caught(factor, words):
    truth = linear()
    result = pv.simulation_based_calibration(with_scale(truth, factor), truth.sample(200), simulations=4, draws=40)
    assert result.troubled
    assert result.sites["z"].verdict == words
    assert bool(result.sites["z"].outside.all())
    assert float(result.sites["z"].spread[0] - 1) * (1 - factor) > 0


def test_a_guide_that_ignores_the_data_is_caught_by_the_likelihood_alone():
    truth = linear()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    result = pv.simulation_based_calibration(pv.Pair(truth.model, guide), truth.sample(200), simulations=4, draws=40)
    assert not bool(result.sites["z"].outside.any())
    assert bool(result.log_likelihood.outside)
    assert "log-likelihood: draws are too" in result.verdict


def test_rounding_does_not_decide_between_equal_likelihoods():
    # Products of other batch shapes differ in the last bits: here every draw is the truth, and seems a bit larger.
    true = -500 - 100 * uniform(2_000)
    sampler, truth = SimpleNamespace(global_sites=[]), SimulatedData({}, {}, true)
    ranks = likelihood_ranks(sampler, truth, (true * (1 - 3e-7)).expand(7, 2_000))
    assert not bool(pv.Ranks.of(ranks, level=0.99).outside)


@pytest.mark.slow
def test_a_learned_global_site_is_ranked_with_a_guide_for_each_simulated_data_set():
    truth = pv.truth.GammaPoisson(2.0, 1.0)

    def learned(x, width=1.0):
        after = truth.posterior(x)
        concentration, rate = after.concentration / width**2, after.rate / width**2
        return pv.Pair(truth.model, lambda x: pyro.sample("rate", dist.Gamma(concentration, rate)))

    x = truth.sample(8)
    with pytest.raises(PairError, match=r"learned 'rate' from one data set.*refit="):
        pv.simulation_based_calibration(learned(x), x)
    exact = pv.simulation_based_calibration(learned(x), x, simulations=60, draws=20, refit=learned)
    assert not exact.troubled
    narrow = pv.simulation_based_calibration(
        learned(x), x, simulations=60, draws=20, refit=lambda x: learned(x, width=0.4)
    )
    assert narrow.sites["rate"].verdict == "draws are too narrow"


def test_refit_may_train():
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def refit(x):
        pyro.clear_param_store()
        return pv.fit(pv.Pair(model, AutoNormal(model)), x, epochs=2, seed=0, staged=False, progress=False).pair

    x = torch.ones(20)
    result = pv.simulation_based_calibration(refit(x), x, simulations=2, draws=5, refit=refit)
    assert result.sites["rate"].values.shape == (2,)


@pytest.mark.parametrize("entry", pairs(without={"factor", "no_latent", "local_autoguide"}))
def test_any_guide_can_be_calibrated_by_simulation(entry):
    pair, args, kwargs = born(entry)
    state = torch.get_rng_state()
    if "autoguide" in entry.traits and not entry.latent:
        with pytest.raises(PairError, match="refit="):
            pv.simulation_based_calibration(pair, *args, **kwargs)
        return
    result = pv.simulation_based_calibration(pair, *args, simulations=2, draws=5, **kwargs)
    assert set(result.sites) == set(entry.latent)
    assert all(len(ranks.values) == 2 * ROWS for ranks in result.sites.values())
    assert torch.equal(torch.get_rng_state(), state)


def test_masked_latent_sites_count_nowhere():
    pair, (x, lengths), _ = born(REGISTRY["time_steps"])
    result = pv.simulation_based_calibration(pair, x, lengths, simulations=1, draws=5)
    assert torch.equal(result.sites["z_2"].values.isnan().all(1), lengths < 3)


# Bad input


def test_what_cannot_be_simulated_is_refused_in_words():
    pair, args, _ = born(REGISTRY["deterministic_and_factor"])
    with pytest.raises(PairError, match="factor \\('smoothness'\\)"):
        pv.simulation_based_calibration(pair, *args)
    pair, args, _ = born(REGISTRY["maximum_likelihood"])
    with pytest.raises(PairError, match="no latent site"):
        pv.simulation_based_calibration(pair, *args)
    pair, args, _ = born(REGISTRY["auto_normal_local"])
    with pytest.raises(PairError, match=r"a parameter for each row.*refit="):
        pv.simulation_based_calibration(pair, *args)

    def scaled(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x / 255)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 255, 1.0))

    with pytest.raises(PairError, match="computes what it observes at 'x'"):
        pv.simulation_based_calibration(pv.Pair(scaled, guide), torch.arange(1.0, 50.0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 0}, "draws=0"),
        ({"levels": ()}, "levels="),
        ({"levels": (0.5, 1.0)}, "levels="),
        ({"source": "posterior"}, "source='posterior'"),
    ],
)
def test_bad_options_of_calibration(options, words):
    truth = linear()
    with pytest.raises(ArgumentError, match=words):
        pv.calibration(truth, truth.sample(10), **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"draws": -1}, "draws=-1"), ({"simulations": 0}, "simulations=0"), ({"level": 1.5}, "level=1.5")],
)
def test_bad_options_of_simulation(options, words):
    truth = linear()
    with pytest.raises(ArgumentError, match=words):
        pv.simulation_based_calibration(truth, truth.sample(10), **options)


def test_data_of_another_shape_and_pairs_never_run_are_refused():
    truth = linear()
    with pytest.raises(PairError, match="does not run on these data"):
        pv.calibration(truth, torch.randn(10, 7))
    pair, data = REGISTRY["auto_normal"].make()
    with pytest.raises(PairError, match="never run"):
        pv.calibration(pair, *data)


# Pictures


def test_results_draw_themselves(tmp_path):
    pair, data = classifier(1.0)
    figure = pv.calibration(pair, *data, draws=5)["label"].plot()
    assert len(figure.axes) == 3
    truth = linear()
    assert len(pv.calibration(truth, truth.sample(50), draws=5)["x"].plot().axes) == 2
    figure = pv.simulation_based_calibration(truth, truth.sample(50), simulations=1, draws=5).plot()
    assert [axis.get_title() for axis in figure.axes] == ["z", "log-likelihood"]
    figure.savefig(tmp_path / "ranks.png")


@pytest.mark.parametrize("draws", [0, 2.5, True])
def test_draws_of_every_source_are_whole_numbers(draws):
    truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
    for source in ("rest", "model", "residual"):
        with pytest.raises(pv.ArgumentError, match="draws="):
            pv.calibration(truth, truth.sample(5), draws=draws, source=source)


def test_where_nothing_was_observed_nothing_is_said():
    truth = pv.masked(pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5))
    found = pv.calibration(truth, torch.full((5, 3), math.nan), draws=10)["x"]
    assert bool(found.coverage.isnan().all())
    assert bool(found.error.isnan().all())
    assert found.verdict == "nothing was observed"
    wide = 0.5 + (uniform(500) - 0.5) / 2
    ranks = pv.Ranks.of(torch.stack([torch.full((500,), math.nan), wide], 1))
    assert ranks.outside.tolist() == [False, True]  # by the band of 500 ranks, and not of none
    assert ranks.verdict == "draws are too wide"


def test_levels_come_as_numbers_lists_and_tensors():
    truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
    x = truth.sample(5)
    one, several = (pv.calibration(truth, x, draws=5, levels=given)["x"] for given in (0.5, torch.tensor([0.5, 0.9])))
    assert one.coverage[0] == several.coverage[0]
    with pytest.raises(pv.ArgumentError, match="levels="):
        pv.calibration(truth, x, draws=5, levels="ab")


def test_a_single_draw_has_no_fair_score():
    truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
    found = pv.calibration(truth, truth.sample(5), draws=1)["x"]
    assert bool(found.crps.isnan().all())
    assert bool(found.energy.isnan().all())


@pytest.mark.parametrize("refit", [3, lambda x: None], ids=["number", "nothing"])
def test_refit_returns_a_pair(refit):
    truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
    with pytest.raises(pv.ArgumentError, match="refit"):
        pv.simulation_based_calibration(truth, truth.sample(5), simulations=1, draws=5, refit=refit)


def test_a_site_that_is_observed_in_part_has_the_name_of_its_whole():
    pair, args, kwargs = born(REGISTRY["observation_mask"])
    asked = {"draws": 3, **kwargs}
    assert set(pv.calibration(pair, *args, **asked)) == {"x", "y"} == set(pv.uncertainty(pair, *args, **asked))
    assert set(pv.uncertainty(pair, *args, sites=["y"], **asked)) == {"y"}
    assert len(pv.selective(pair, *args, site="y", **asked).loss) == len(args[0])


def test_what_is_computed_of_latents_is_no_data():
    """What a reparametrised model computes lies in its own intervals always; a residual has no data at all."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("twice", dist.Delta(2 * z, log_density=torch.zeros(()), event_dim=1), obs=2 * z)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def residual(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([1]).to_event(1), obs=x - z)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.7).to_event(1))

    x = torch.randn(30, 1)
    with pytest.warns(pv.PyrovaeWarning, match="'twice' is computed of latent sites"):
        assert list(pv.calibration(pv.Pair(model, guide), x, draws=19)) == ["x"]
    with pytest.raises(pv.PairError, match="no data to be calibrated against"):
        pv.calibration(pv.Pair(residual, guide), x, draws=19)
