"""P-values of usual data are uniform whatever the score, and novel data are found."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import REGISTRY, ROWS, born, pairs

import pyrovae as pv
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.pairs.trace import with_rows
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.complexity import complexities, scales
from pyrovae.trust.conformal import one_sided, two_sided, with_p_values
from pyrovae.trust.regret import regrets

SCORES = ("combined", "evidence", "typicality", "complexity")


def linear(width: int = 6) -> pv.truth.LinearGaussian:
    weight = torch.randn(width, 2, generator=torch.Generator().manual_seed(0))
    return pv.truth.LinearGaussian(weight, torch.zeros(width), 0.5)


# P-values


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, math.inf]), min_size=2, max_size=12),
    st.sampled_from([1, 2]),
)
def test_p_values_of_exchangeable_data_are_super_uniform(scores, sides):
    """Exactly: each of the n + 1 scores takes the place of the new one, and all are equally probable."""
    bag = torch.tensor(scores, dtype=torch.float64)
    names = {"a": sides, "b": 1}
    p_values: dict[str, list[float]] = {}
    for new in range(len(bag)):
        others = torch.cat([bag[:new], bag[new + 1 :]])
        found = with_p_values(dict.fromkeys(names, bag[new : new + 1]), dict.fromkeys(names, others), names)
        for name, one in found.items():
            p_values.setdefault(name, []).append(float(one.p_value))
    for values in p_values.values():
        for alpha in (0.1, 0.25, 0.5, 0.9):
            assert sum(p <= alpha for p in values) <= alpha * len(values) + 1e-9


@pytest.mark.parametrize("score", SCORES)
def test_of_usual_data_as_many_are_flagged_as_was_asked_for(score):
    truth = linear()
    rates = []
    for seed in range(8):
        result = pv.novelty(
            truth, truth.sample(300, seed=seed), calibration=truth.sample(300, seed=100 + seed), draws=2
        )
        rates.append(float(result.flagged(0.1, by=score).double().mean()))
    # Of 8 sets, each with a standard deviation of sqrt(0.09 * 2 / 300) = 0.024.
    assert sum(rates) / 8 == pytest.approx(0.1, abs=3 * 0.024 / math.sqrt(8))


def test_p_values_by_hand():
    usual = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    new = torch.tensor([0.0, 3.0, 9.0], dtype=torch.float64)
    assert one_sided(new, usual).share[:, -1].tolist() == [1.0, 0.6, 0.2]
    # With 9 the median of the bag is 3, with 0 it is 2: both are then the furthest from it, 0 together with 4.
    assert two_sided(new, usual).share[:, -1].tolist() == [0.4, 1.0, 0.2]


def test_the_bag_knows_no_order():
    generator = torch.Generator().manual_seed(0)
    usual, new = torch.randn(20, generator=generator).double(), torch.randn(1, generator=generator).double()
    for make in (one_sided, two_sided):
        bag = make(new, usual)
        swapped = make(usual[:1], torch.cat([new, usual[1:]]))
        assert torch.equal(bag.share[0, [0, -1]], swapped.share[0, [-1, 0]])


# Scores


def test_evidence_is_that_of_the_truth_and_typicality_is_its_distance_from_the_median():
    truth = linear()
    x, usual = truth.sample(20, seed=1), truth.sample(200, seed=2)
    result = pv.novelty(truth, x, calibration=usual, draws=1)  # the guide is the posterior: one draw is exact
    assert torch.allclose(result.evidence.score.float(), -truth.log_evidence(x), atol=1e-3)
    three = pv.novelty(truth, x, calibration=usual, draws=3)
    assert torch.allclose(three.evidence.score, result.evidence.score, atol=1e-3)
    surprise = -truth.log_evidence(usual)
    assert torch.allclose(result.evidence.usual.float(), surprise.sort().values, atol=1e-3)
    expected = (-truth.log_evidence(x) - surprise.median()).abs()
    assert torch.allclose(result.typicality.score.float(), expected, atol=0.1)
    assert result.disagreement is None


def test_what_is_too_usual_is_untypical():
    truth = linear(width=50)
    result = pv.novelty(truth, truth.mean.expand(1, -1), calibration=truth.sample(200, seed=2), draws=2)
    assert float(result.evidence.p_value) == 1
    assert float(result.typicality.p_value) == 1 / 201


def images():
    """A pair for which every pixel is a fair coin, so that the evidence tells nothing apart."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(torch.full((16, 16), 0.5) + 0 * z[..., None, None]).to_event(2), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    return pv.Pair(model, guide)


def test_complexity_finds_a_simple_image_that_evidence_does_not():
    noise = (torch.rand(60, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    result = pv.novelty(images(), torch.zeros(1, 16, 16), calibration=noise, draws=2)
    assert float(result.evidence.p_value) > 0.05
    assert float(result.complexity.p_value) == pytest.approx(1 / 61)


def test_compressed_sizes_are_in_nats_and_blind_to_masked_elements():
    pair = images()
    noise = (torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    sampler = Sampler.of(pair, (noise,), {}, seed=0)
    (tile,) = sampler.tiles(1)
    found = complexities(sampler, tile.runs[0], scales(sampler))
    assert bool((found > 256 * math.log(2)).all())  # 256 fair coins cannot be said in less
    assert bool((found < 5 * 256 * math.log(2)).all())
    pair, (x, seen), _ = born(REGISTRY["masked_elements"])
    sizes = []
    for hidden in (0.0, 0.3):
        sampler = Sampler.of(pair, (torch.where(seen, x, torch.tensor(hidden)), seen), {}, seed=0)
        (tile,) = sampler.tiles(1)
        sizes.append(complexities(sampler, tile.runs[0], scales(sampler)))
    assert torch.equal(*sizes)


def regression():
    """A line with unknown slope, learned where |c| is about 1."""

    def model(c, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 10.0))
        with pyro.plate("data", 1_000, subsample_size=len(c)):
            pyro.sample("y", dist.Normal(slope * c, 1.0), obs=y)

    def guide(c, y):
        pyro.sample("slope", dist.Normal(1.0, 0.1))

    return pv.Pair(model, guide)


def test_draws_of_the_weights_disagree_far_from_the_data():
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(400, generator=generator)
    y = c + torch.randn(400, generator=generator)
    far = torch.tensor([50.0]), torch.tensor([50.0])
    result = pv.novelty(regression(), *far, calibration=(c, y))
    assert float(result.disagreement.p_value) == 1 / 401
    assert float(result.disagreement.score) > 3
    usual = pv.novelty(regression(), c[:200], y[:200], calibration=(c[200:], y[200:]))
    assert float(usual.flagged(0.1, by="disagreement").double().mean()) == pytest.approx(0.1, abs=0.08)
    # log p(y | c) given one slope, averaged over slopes, has a closed form: a normal of variance 1 + 0.01 c².
    exact = -dist.Normal(c[:200], (1 + 0.01 * c[:200] ** 2).sqrt()).log_prob(y[:200])
    assert torch.allclose(usual.evidence.score.float(), exact, atol=0.15)


def with_guide(truth: pv.truth.LinearGaussian, shift: float) -> pv.Pair:
    """The truth with the exact posterior where x is positive on average, and beside it elsewhere."""

    def guide(x):
        posterior = truth.posterior(x)
        sd = posterior.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
        off = shift * (x.mean(-1, keepdim=True) < 0)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(posterior.mean + off * sd, sd).to_event(1))

    return pv.Pair(truth.model, guide)


def test_regret_is_the_divergence_of_the_guide_where_the_refined_one_is_the_posterior():
    # Orthogonal columns: the posterior is a product, which the refinement of a product reaches.
    truth = pv.truth.LinearGaussian(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.zeros(2), 0.5)
    x = truth.sample(300, seed=0)
    found = regrets(Sampler.of(with_guide(truth, 1.5), (x,), {}, seed=0))
    exact = 2 * 1.5**2 / 2 * (x.mean(-1) < 0)  # two coordinates, each off by 1.5 standard deviations
    # 64 draws, on which a refinement is found and others on which it is judged.
    assert bool(((found - exact).abs() < 1).all())
    assert float((found - exact)[exact == 0].mean()) == pytest.approx(0, abs=0.1)
    assert float((found - exact)[exact > 0].mean()) == pytest.approx(0, abs=0.15)


def test_regret_finds_what_the_guide_cannot_infer():
    truth = pv.truth.LinearGaussian(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.zeros(2), 0.5)
    usual = truth.sample(200, seed=0).abs()
    result = pv.novelty(with_guide(truth, 3.0), -usual[:20], calibration=usual, scores=("regret",), draws=2)
    assert bool((result.regret.p_value < 0.01).all())
    assert result.evidence is None


@pytest.mark.parametrize("name", ["plain_functions", "local_and_global", "time_steps", "enumerated_prior"])
def test_regret_of_other_pairs_is_a_gain(name):
    pair, args, kwargs = born(REGISTRY[name])
    state = torch.get_rng_state()
    found = regrets(Sampler.of(pair, args, kwargs, seed=0))
    assert found.shape == (ROWS,)
    assert bool((found > -0.5).all())
    assert float(found.mean()) > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_data_outside_the_support_are_as_strange_as_can_be():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Uniform(0.0, 1.0, validate_args=False), obs=x)

    result = pv.novelty(pv.Pair(model, lambda x: None), torch.tensor([0.5, 3.0]), calibration=torch.rand(99))
    assert result.evidence.p_value.tolist() == [1.0, 0.01]
    assert result.flagged().tolist() == [False, True]


# Any pair


@pytest.mark.parametrize("entry", pairs(without={"full_data", "local_autoguide"}))
def test_any_pair_can_be_asked(entry):
    pair, args, kwargs = born(entry)
    state, names = torch.get_rng_state(), set(pyro.get_param_store().keys())
    few = with_rows(args, kwargs, 5)
    options = {"calibration": kwargs or args, "draws": 3, "shared_draws": 3}
    result = pv.novelty(pair, *few[0], **few[1], **options)
    expected = {*SCORES, *(["disagreement"] if entry.global_sites and "point" not in entry.traits else [])}
    assert {name for name in result._fields if getattr(result, name) is not None} == expected
    for name in expected:
        one = result.by(name)
        assert one.score.shape == one.p_value.shape == (5,)
        assert one.usual.shape == (ROWS,)
        assert bool(((one.p_value > 0) & (one.p_value <= 1)).all())
        assert bool(one.score.isfinite().all())
    again = pv.novelty(pair, *few[0], **few[1], **options)
    assert torch.equal(result.combined.p_value, again.combined.p_value)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(pyro.get_param_store().keys()) == names


def test_arrays_loaders_and_dicts_are_taken():
    truth = linear()
    x, usual = truth.sample(10, seed=0), truth.sample(50, seed=1)
    one = pv.novelty(truth, x, calibration=usual, draws=2)
    two = pv.novelty(truth, x.numpy(), calibration={"x": usual}["x"].numpy(), draws=2)
    three = pv.novelty(truth, calibration={"x": usual}, draws=2, x=x)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(usual), batch_size=20)
    four = pv.novelty(truth, x, calibration=loader, draws=2)
    for other in (two, three, four):
        assert torch.allclose(one.evidence.score, other.evidence.score, atol=1e-5)


# Bad input


def test_bad_input_is_refused_in_words():
    truth = linear()
    x, usual = truth.sample(10), truth.sample(30)
    with pytest.raises(DataError, match=r"rows of shape.*\(6,\).*\(5,\)"):
        pv.novelty(truth, x[:, :5], calibration=usual)
    with pytest.raises(ArgumentError, match="draws=0"):
        pv.novelty(truth, x, calibration=usual, draws=0)
    with pytest.raises(ArgumentError, match="scores="):
        pv.novelty(truth, x, calibration=usual, scores=("surprise",))
    with pytest.raises(PairError, match="disagreement is that of several draws of the global sites"):
        pv.novelty(truth, x, calibration=usual, scores=("disagreement",))
    mixture = pv.truth.DiscreteMixture(torch.ones(2) / 2, torch.rand(2, 3))
    with pytest.raises(ArgumentError, match="regret moves the guide's local sites continuously, and 'z' is discrete"):
        pv.novelty(mixture, mixture.sample(5), calibration=mixture.sample(5), scores=("regret",))
    c, y = torch.zeros(3), torch.zeros(3)
    with pytest.raises(ArgumentError, match="regret is that of the guide's local sites, and it has none"):
        pv.novelty(regression(), c, y, calibration=(c, y), scores=("regret",))
    result = pv.novelty(truth, x, calibration=usual, scores=("evidence",), draws=2)
    with pytest.raises(ArgumentError, match="no score 'complexity' here; there are 'combined', 'evidence'"):
        result.by("complexity")
    with pytest.raises(ArgumentError, match=r"alpha=0.01 with 30 calibration data"):
        result.flagged(0.01)
    pair, data = REGISTRY["auto_normal"].make()
    with pytest.raises(PairError, match="never run"):
        pv.novelty(pair, *data, calibration=data)


def test_scores_draw_themselves():
    truth = linear()
    figure = pv.novelty(truth, truth.sample(10), calibration=truth.sample(30), draws=2).plot()
    assert [axis.get_title() for axis in figure.axes] == ["evidence", "typicality", "complexity"]


def test_pairs_and_numbers_that_give_no_score_are_refused():
    counts = pv.truth.GammaPoisson(2.0, 1.0)
    x = counts.sample(8)
    with pytest.raises(pv.ArgumentError, match="shared_draws=1: disagreement"):
        pv.novelty(counts, x, calibration=x, shared_draws=1)
    assert pv.novelty(counts, x, calibration=x, shared_draws=1, scores="evidence").disagreement is None

    def prior(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(pv.PairError, match="no observed site"):
        pv.novelty(pv.Pair(prior, prior), x, calibration=x)

    def drawn(x):
        k = pyro.sample("k", dist.Bernoulli(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    summed = pv.Pair(pyro.infer.config_enumerate(drawn), lambda x: None)
    with pytest.raises(pv.PairError, match="'k', which all data share"):
        pv.novelty(summed, x, calibration=x)
    with pytest.raises(pv.PairError, match="'k' is drawn by the model alone"):
        pv.novelty(pv.Pair(drawn, lambda x: None), x, calibration=x)


@pytest.mark.parametrize("alpha", ["a", None])
def test_rates_of_false_alarms_are_numbers(alpha):
    counts = pv.truth.GammaPoisson(2.0, 1.0)
    with pytest.raises(pv.ArgumentError, match="alpha="):
        pv.novelty(counts, counts.sample(8), calibration=counts.sample(8), draws=5).flagged(alpha)
