"""What has a density and what has none: figures of guides at points, of bounded sites, of weighted programs."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import autoguide, config_enumerate
from pyro.infer.autoguide import init_to_value

import pyrovae as pv
from pyrovae.checks.check_pair import findings

# --- global sites of bounded support --------------------------------------------------------------------------


def coins(x):
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(p), obs=x)


def classes(x):
    p = pyro.sample("p", dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0])))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Categorical(p), obs=x)


def spread(x):
    s = pyro.sample("s", dist.Uniform(0.5, 4.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, s), obs=x)


def of_coins(x):
    heads, n = float(x.sum()), len(x)
    log_beta = [math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) for a, b in ((2 + heads, 3 + n - heads), (2, 3))]
    return log_beta[0] - log_beta[1]


def of_classes(x):
    prior = torch.tensor([2.0, 3.0, 4.0])
    after = prior + torch.bincount(x, minlength=3)
    return float((after.lgamma().sum() - after.sum().lgamma()) - (prior.lgamma().sum() - prior.sum().lgamma()))


def of_spread(x):
    grid = torch.linspace(0.5, 4.0, 4001, dtype=torch.float64)
    joint = dist.Normal(0.0, grid).log_prob(x[:, None].double()).sum(0)
    return float(joint.logsumexp(0) - math.log(len(grid)))


BOUNDED = {
    "beta": (coins, of_coins, (torch.arange(12) % 3 > 0).float(), {"p": torch.tensor(0.6)}),
    "dirichlet": (classes, of_classes, torch.arange(12) % 5 % 3, {"p": torch.tensor([0.35, 0.35, 0.3])}),
    "uniform": (spread, of_spread, torch.linspace(-2.0, 2.0, 12), {"s": torch.tensor(1.4)}),
}
CASES = [("beta", kind) for kind in ("AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoStructured")]
CASES += [("dirichlet", "AutoMultivariateNormal"), ("uniform", "AutoNormal")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_global_sites_of_bounded_support_keep_their_density(name, kind):
    model, exact, x, start = BOUNDED[name]
    pyro.set_rng_seed(0)
    wide = {} if kind == "AutoStructured" else {"init_scale": 0.5}
    guide = getattr(autoguide, kind)(model, init_loc_fn=init_to_value(values=start), **wide)
    guide(x)
    for scale in guide.scales.parameters() if kind == "AutoStructured" else ():
        scale.data.fill_(0.0)  # softplus(0) = 0.7
    pair, truth = pv.Pair(model, guide), exact(x)
    whole = pv.log_evidence(pair, x, joint=True, draws=400)
    assert abs(float(whole.value) - truth) < 4 * float(whole.error)
    assert float(whole.error) < 0.1
    bound = pv.elbo(pair, x, draws=40)
    assert truth - 2 < float(bound.value.sum()) < truth + 4 * float(bound.error.sum())
    assert float(pv.psis(pair, x, joint=True, draws=40).ess) > 5
    weights = pv.to_arviz(pair, x, draws=40, groups=["sample_stats"])["sample_stats"]["log_weight"].values
    assert float(torch.as_tensor(weights).double().logsumexp(-1)) - math.log(40) == pytest.approx(truth, abs=0.6)


# --- guides that are no densities -----------------------------------------------------------------------------


def located(x):
    w = pyro.sample("w", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(w, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def exact_codes(x, w):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((w + 4 * x) / 5, 5**-0.5))


def global_point(x):
    w = pyro.sample("w", dist.Delta(pyro.param("w_hat", torch.tensor(0.3))))
    exact_codes(x, w)


def local_point(x):
    w = pyro.sample("w", dist.Normal(pyro.param("w_loc", torch.tensor(0.3)), 0.1))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Delta((w + 4 * x) / 5))


def noisy_point(x):
    """A value that moves at random, and no site that has the density of its moves."""
    w = pyro.sample("w", dist.Delta(pyro.param("w_hat", torch.tensor(0.3)) + 0.1 * torch.randn(())))
    exact_codes(x, w)


X = torch.linspace(-1.0, 2.0, 9)


def given(x):
    return x if isinstance(x, tuple) else (x,)


OF_THE_WHOLE = {
    "joint": lambda pair, x: pv.log_evidence(pair, *given(x), joint=True),
    "joint psis": lambda pair, x: pv.psis(pair, *given(x), joint=True),
    "elbo": lambda pair, x: pv.elbo(pair, *given(x)),
    "rate": lambda pair, x: pv.rate_distortion(pair, *given(x)),
}
OF_EACH = {
    "evidence": lambda pair, x: pv.log_evidence(pair, *given(x)),
    "psis": lambda pair, x: pv.psis(pair, *given(x)),
    "annealed": lambda pair, x: pv.ais(pair, *given(x), chains=2, steps=3),
    "gap": lambda pair, x: pv.inference_gap(pair, *given(x), steps=2, draws=4),
    "novelty": lambda pair, x: pv.novelty(pair, *given(x), calibration=given(x)),
    "information": lambda pair, x: pv.mutual_information(pair, *given(x)),
}


def trained(guide, model=located, x=X):
    guide(x)  # what it has for parameters
    return pv.Pair(model, guide)


def test_a_global_point_has_the_evidence_of_each_datum_there():
    pair = trained(global_point)
    exact = dist.Normal(0.3, 1.25**0.5).log_prob(X).double()
    torch.testing.assert_close(pv.log_evidence(pair, X, draws=3).value, exact, rtol=0, atol=1e-5)
    annealed = pv.ais(pair, X, chains=4, steps=3).lower
    torch.testing.assert_close(annealed.value, exact, rtol=0, atol=1e-4)
    gap = pv.inference_gap(pair, X, steps=2, draws=400)
    assert float(((gap.evidence.value - exact) / gap.evidence.error).abs().max()) < 4.5
    assert pv.novelty(pair, X, calibration=X).disagreement is None


@pytest.mark.parametrize("name", OF_THE_WHOLE)
@pytest.mark.parametrize("guide", [global_point, noisy_point])
def test_what_needs_a_density_of_a_global_point_is_refused(name, guide):
    with pytest.raises(pv.PairError, match="'w', which all data share, at one point"):
        OF_THE_WHOLE[name](trained(guide), X)


@pytest.mark.parametrize("name", [*OF_THE_WHOLE, *OF_EACH])
def test_what_needs_a_density_of_local_points_is_refused(name):
    with pytest.raises(pv.PairError, match="'z' at one point for each datum"):
        {**OF_THE_WHOLE, **OF_EACH}[name](trained(local_point), X)


@pytest.mark.parametrize(("guide", "there"), [(global_point, {"log_p", "local_log_weight"}), (local_point, {"log_p"})])
def test_arviz_holds_what_has_a_density(guide, there):
    found = pv.to_arviz(trained(guide), X, draws=3, groups=["sample_stats"])["sample_stats"]
    assert set(found.data_vars) == there


@pytest.mark.slow
def test_codes_at_points_are_annealed_from_the_prior():
    def only_codes(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(pyro.param("scale", torch.tensor(0.8)) * x))

    found = pv.ais(trained(guide, only_codes), X, start="prior", chains=64, steps=40).lower
    exact = dist.Normal(0.0, 1.25**0.5).log_prob(X).double()
    assert float(((found.value - exact) / found.error).abs().max()) < 4.5
    assert float(found.error.max()) < 0.2


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", ["AutoNormal", "AutoDiagonalNormal", "AutoLaplaceApproximation"])
def test_what_stands_behind_a_random_auxiliary_site_is_no_point(kind, frozen):
    model, _, x, _ = BOUNDED["uniform"]
    guide = getattr(autoguide, kind)(model)
    guide(x)
    for parameter in guide.parameters():
        parameter.requires_grad_(not frozen)
    pair = pv.Pair(model, guide)
    if kind == "AutoLaplaceApproximation":  # until its curvature is taken, it stands at its mode
        with pytest.raises(pv.PairError, match="at one point"):
            pv.log_evidence(pair, x, joint=True)
    else:
        assert math.isfinite(float(pv.log_evidence(pair, x, joint=True, draws=20).value))


def test_a_discrete_point_has_the_mass_one():
    def mixed(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * k, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Delta((x > 1).float()))

    k = (X > 1).float()
    expected = dist.Bernoulli(0.3).log_prob(k) + dist.Normal(2 * k, 0.5).log_prob(X)
    for found in (pv.log_evidence(pv.Pair(mixed, guide), X, draws=2), pv.elbo(pv.Pair(mixed, guide), X, draws=2)):
        torch.testing.assert_close(found.value, expected.double(), rtol=0, atol=1e-5)
    rate = pv.rate_distortion(pv.Pair(mixed, guide), X).rate
    assert rate == pytest.approx(-float(dist.Bernoulli(0.3).log_prob(k).mean()), rel=1e-5)


# --- weights of the author ------------------------------------------------------------------------------------


class Weighed:
    """A linear-Gaussian pair whose guide is off; `around` is put around both sides, `penalty` is a factor of q."""

    def __init__(self, around=None, likelihood=1.0, penalty=None, size=None, observes=None):
        self.around, self.likelihood, self.penalty, self.size = around, likelihood, penalty, size
        self.observes = observes

    def plate(self, x):
        return pyro.plate("data", self.size or len(x), subsample_size=len(x))

    def model(self, x):
        with poutine.scale(scale=1.0 if self.around is None else self.around), self.plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.scale(scale=self.likelihood):
                pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(self, x):
        with poutine.scale(scale=1.0 if self.around is None else self.around), self.plate(x):
            pyro.sample("z", dist.Normal(0.7 * x, 0.6))
            if self.observes is not None:
                pyro.sample("x", dist.Normal(self.observes, 0.1), obs=x, infer={"is_auxiliary": True})
            if self.penalty is not None:
                pyro.factor("penalty", self.penalty * x, has_rsample=True)


WEIGHTS = {
    "everything": {"around": 1 / 480},
    "as a tensor": {"around": torch.tensor(0.25)},
    "likelihood": {"likelihood": 2.0},
    "factor of the guide": {"penalty": 40.0},
    "subsample": {"size": 360},
    "what the guide observes": {"observes": 3.0},
    "all of them": {"around": 0.5, "likelihood": 3.0, "penalty": -7.0, "size": 360},
}
FIGURES = {
    "elbo": lambda pair: pv.elbo(pair, X, draws=20),
    "evidence": lambda pair: pv.log_evidence(pair, X, draws=20),
    "joint": lambda pair: pv.log_evidence(pair, X, draws=20, joint=True),
    "psis": lambda pair: pv.psis(pair, X, draws=40),
    "rate": lambda pair: pv.rate_distortion(pair, X)[:3],
    "annealed": lambda pair: pv.ais(pair, X, chains=2, steps=3).lower,
    "gap": lambda pair: pv.inference_gap(pair, X, steps=2, draws=8).total,
    "novelty": lambda pair: [pv.novelty(pair, X, calibration=X, draws=4).evidence.score],
    "information": lambda pair: pv.mutual_information(pair, X)[:3],
    "arviz": lambda pair: [
        torch.as_tensor(pv.to_arviz(pair, X, draws=3, groups=["sample_stats"])["sample_stats"]["log_weight"].values)
    ],
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.slow
def test_weights_of_the_author_are_in_no_figure(weights, caplog):
    options = WEIGHTS[weights]
    same_draws = {"penalty": 1e-9, "observes": 0.0}
    pair, plain = Weighed(**options), Weighed(**{key: same_draws[key] for key in options if key in same_draws})
    for name, figure in FIGURES.items():
        for one, other in zip(figure(pair), figure(plain), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    said = [record.message for record in caplog.records]
    assert sum("scales" in words for words in said) == bool({"around", "likelihood"} & set(options))
    assert sum("pyro.factor" in words for words in said) == 2 * bool({"penalty", "observes"} & set(options))
    exact = dist.Normal(0.0, 1.25**0.5).log_prob(X).double()
    found = pv.log_evidence(pair, X, draws=2000)
    assert float(((found.value - exact) / found.error).abs().max()) < 4.5


@pytest.mark.slow
def test_the_posterior_of_a_weighted_model_is_that_without_weights():
    pair = Weighed(around=0.01, likelihood=3.0)
    found = pv.check_guide(pair, X, draws=300, warmup=100)["z"]
    assert float((found.nuts_scale - 0.2**0.5).abs().max()) < 0.1


def test_what_is_summed_out_has_no_weights_either():
    @config_enumerate
    def model(x, scale):
        with poutine.scale(scale=scale), pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * k, 0.5), obs=x)

    pair = pv.Pair(lambda x: model(x, 1 / 480), lambda x: None)
    terms = [math.log(p) + dist.Normal(m, 0.5).log_prob(X) for p, m in ((0.7, 0.0), (0.3, 2.0))]
    exact = torch.logaddexp(*terms).double()
    torch.testing.assert_close(pv.log_evidence(pair, X, draws=2).value, exact, rtol=0, atol=1e-5)
    assert pv.rate_distortion(pair, X).elbo == pytest.approx(float(exact.mean()), rel=1e-5)


def test_scales_by_row_are_left_out_of_rows_and_refused_in_sums():
    counts = 1.0 + torch.arange(len(X)) % 3

    def model(x, counts):
        with pyro.plate("data", len(x)), poutine.scale(scale=counts):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x, counts):
        with pyro.plate("data", len(x)), poutine.scale(scale=counts):
            pyro.sample("z", dist.Normal(0.8 * x, 0.2**0.5))  # exact

    pair, exact = pv.Pair(model, guide), dist.Normal(0.0, 1.25**0.5).log_prob(X).double()
    for figure in (pv.log_evidence, pv.elbo):
        torch.testing.assert_close(figure(pair, X, counts, draws=3).value, exact, rtol=0, atol=1e-5)
    of_all = (pv.rate_distortion, lambda *a: pv.log_evidence(*a, joint=True), lambda *a: pv.psis(*a, joint=True))
    for figure in of_all:
        with pytest.raises(pv.PairError, match=r"'\w' is scaled row by row.*repeat_interleave"):
            figure(pair, X, counts)
    stats = pv.to_arviz(pair, X, counts, draws=2, groups=["sample_stats"])["sample_stats"]
    assert set(stats.data_vars) == {"elbo"}
    model.weighs_rows = True
    assert pv.rate_distortion(pair, X, counts).elbo == pytest.approx(float(exact.mean()), rel=1e-5)
    assert float(of_all[1](pair, X, counts).value) == pytest.approx(float(exact.sum()), rel=1e-5)
    (finding,) = findings(pair, (X, counts), {})
    assert (finding.clause, finding.severity) == ("author-scale", "warning")


def test_the_history_has_no_weights():
    runs = []
    for weight, how in ((1.0, False), (1 / 480, False), (1 / 480, "traced")):
        pyro.clear_param_store()
        expected = pytest.warns(pv.PyrovaeWarning, match="author-scale") if weight != 1 else nullcontext()
        with expected:
            pair, options = Trainable(weight), {"learning_rate": 1e-9, "staged": how, "progress": False}
            runs.append(pv.fit(pair, X, epochs=2, batch_size=4, seed=0, **options))
    for run in runs[1:]:
        for one, other in zip(run.history, runs[0].history, strict=True):
            assert (one.elbo, one.rate, one.loss) == pytest.approx((other.elbo, other.rate, other.loss / 480), rel=1e-4)


class Trainable(Weighed):
    def guide(self, x):
        with poutine.scale(scale=self.around), self.plate(x):
            pyro.sample("z", dist.Normal(pyro.param("slope", torch.tensor(0.7)) * x, 0.6))


# --- masks on one side ----------------------------------------------------------------------------------------


def labelled(*, masked):
    """Labels that are known in some rows: the evidence of a row is that of what is seen there."""

    def model(x, y, known):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            y = pyro.sample("y", dist.Normal(z, 1.0), obs=y, obs_mask=known)
            pyro.sample("x", dist.Normal(y, 0.5), obs=x)

    def guide(x, y, known):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.where(known, y / 2, x / 2.25), 0.8))
            with poutine.mask(mask=~known if masked else torch.ones_like(known)):
                pyro.sample("y_unobserved", dist.Normal((z + 4 * x) / 5, 5**-0.5))

    return pv.Pair(model, guide)


def test_masks_of_one_side_are_refused_and_those_of_both_give_the_evidence():
    y, known = X.flip(0), torch.arange(len(X)) % 2 == 0
    seen = dist.Normal(0.0, 2**0.5).log_prob(y) + dist.Normal(y, 0.5).log_prob(X)
    exact = torch.where(known, seen, dist.Normal(0.0, 2.25**0.5).log_prob(X)).double()
    found = pv.log_evidence(labelled(masked=True), X, y, known, draws=2000)
    assert float(((found.value - exact) / found.error).abs().max()) < 4.5
    for name, figure in {**OF_THE_WHOLE, **OF_EACH}.items():
        if name in ("novelty", "information"):
            continue
        with pytest.raises(pv.PairError, match=r"'y_unobserved'.*poutine\.mask\(mask=~obs_mask\)"):
            figure(labelled(masked=False), (X, y, known))


def test_a_mask_that_hides_nothing_need_not_stand_on_both_sides():
    known = torch.zeros(len(X)).bool()
    found = pv.log_evidence(labelled(masked=False), X, X, known, draws=2000)
    exact = dist.Normal(0.0, 2.25**0.5).log_prob(X).double()
    assert float(((found.value - exact) / found.error).abs().max()) < 4.5


@pytest.mark.parametrize("rows", [9, 600])
def test_a_plate_that_the_model_alone_masks_is_refused_wherever_its_rows_are(rows):
    x, seen = torch.linspace(-1, 1, rows), torch.arange(rows) < rows - 1
    masked = lambda x, seen: poutine.mask(Weighed().model, mask=seen)(x)  # noqa: E731
    pair = pv.Pair(masked, lambda x, seen: Weighed().guide(x))
    for figure in (pv.log_evidence, pv.elbo, pv.rate_distortion):
        with pytest.raises(pv.PairError, match="'z' in the guide than in the model"):
            figure(pair, x, seen, draws=2)


def test_what_rows_share_counts_once_in_more_rows_than_are_worked_on_together():
    """Of a plate of `len(x)`, whose size in a part of the rows is that of the part."""
    x = torch.randn(300, generator=torch.Generator().manual_seed(0))

    def model(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        mean = pyro.sample("mean", dist.Normal(2.0, 1e-4))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + mean) / 2, 0.5**0.5))  # the posterior given the mean

    kl = torch.distributions.kl_divergence(dist.Normal(2.0, 1e-4), dist.Normal(0.0, 1.0))
    exact = dist.Normal(2.0, 2.0**0.5).log_prob(x).sum() - kl
    found = pv.elbo(pv.Pair(model, guide), x, draws=20, seed=0).value.sum()
    assert float(found) == pytest.approx(float(exact), abs=0.2)  # counted by parts, the KL would be off by 1.8
