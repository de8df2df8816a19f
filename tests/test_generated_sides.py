"""Models taught by a discriminator of their draws, without a likelihood: any program that can be drawn from."""

from __future__ import annotations

from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import pyrovae as pv

QUIET = {"progress": False, "batch_size": 500}
MIXED, MIDDLE = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([1.0, -2.0])
X = torch.randn(4_000, 2, generator=torch.Generator().manual_seed(1)) @ MIXED.T + MIDDLE


class Quadratic(nn.Module):
    """The best discriminator of two normals is of this kind."""

    def __init__(self, numbers: int):
        super().__init__()
        self.layer = nn.Linear(numbers + numbers**2, 1)
        nn.init.zeros_(self.layer.weight)

    def forward(self, *columns):
        x = torch.cat([column.reshape(len(column), -1) for column in columns], 1)
        return self.layer(torch.cat([x, (x[:, :, None] * x[:, None]).flatten(1)], 1))


def nothing(*_):
    """The guide of a pair that is drawn from alone."""


def generator(likelihood, guide=nothing):
    decoder = nn.Linear(2, 2)
    nn.init.eye_(decoder.weight)

    def model(x):
        pyro.module("decoder", decoder)
        if isinstance(likelihood, nn.Module):
            pyro.module("likelihood", likelihood)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", likelihood(decoder(z)), obs=x)

    return pv.own_store(pv.Pair(model, guide)), decoder


def at_a_point(value):
    return dist.Delta(value).to_event(1)


def trained(pair, x, network, share):
    for seed, (own, other) in enumerate(((1.0, 1.0), (0.3, 0.3), (0.05, 0.1))):
        rate = {"*adversarial*": 0.2 * other, "*decoder*": own * share}
        told = pv.adversarial(pair, network, rounds=4)
        run = pv.fit(told, x, steps=120, learning_rate=rate, seed=seed, batch_size=2_000, progress=False)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("taught", [True, False])
def test_a_linear_generator_finds_mean_and_covariance(taught):
    """Within 0.15, where it begins 2 and 0.6 off; without its steps it stays there."""
    torch.manual_seed(0)
    pair, decoder = generator(at_a_point)
    run = trained(pair, X, Quadratic(2), 0.02 if taught else 0.0)
    weight = decoder.weight.detach()
    errors = (decoder.bias.detach() - X.mean(0)).abs().max(), (weight @ weight.T - torch.cov(X.T)).abs().max()
    assert (max(errors) < 0.15) == taught
    assert [verdict.kind.name for verdict in run.verdicts] == ["NO_ELBO"]
    assert "a discriminator that tells its draws at 'x' from data" in run.verdict
    assert (pv.discriminator(pair, X[:1_000], classifier=LogisticRegression()).area < 0.54) == taught
    drawn = pv.generate(pair, X, seed=0)["x"]
    assert torch.allclose(drawn.mean(0), decoder.bias.detach(), atol=0.06)


class LogRatio(nn.Module):
    """The best discriminator there is, of the model as it is now."""

    def __init__(self, decoder, data):
        super().__init__()
        model = dist.MultivariateNormal(decoder.bias.detach(), decoder.weight.detach() @ decoder.weight.detach().T)
        self.model, self.data, self.nothing = model, data, nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.model.log_prob(x) - self.data.log_prob(x) + self.nothing


def test_the_gradient_is_that_of_the_divergence_from_the_data():
    torch.manual_seed(0)
    pair, decoder = generator(at_a_point)
    with torch.no_grad():
        decoder.weight += torch.tensor([[0.2, 0.1], [-0.1, 0.3]])
    data = dist.MultivariateNormal(MIDDLE, MIXED @ MIXED.T)
    told = pv.adversarial(pair, LogRatio(decoder, data))
    x = torch.zeros(200_000, 2)
    with told.turned("pair"):
        pyro.infer.Trace_ELBO().loss_and_grads(told.model, told.guide, x)
    found = [p.grad / len(x) for p in decoder.parameters()]
    drawn = dist.MultivariateNormal(decoder.bias, decoder.weight @ decoder.weight.T)
    exact = torch.autograd.grad(torch.distributions.kl_divergence(drawn, data), list(decoder.parameters()))
    assert all(torch.allclose(one, other, atol=0.03) for one, other in zip(found, exact, strict=True))
    assert max(float(one.abs().max()) for one in exact) > 1.0


LIKELIHOODS = {
    "point": at_a_point,
    "noise": pv.Implicit(pv.MLP([2, 3], [8], 2), noise=3),
    "normal": lambda value: dist.Normal(value, 0.5).to_event(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_draws_stand_and_what_needs_a_density_is_refused_where_there_is_none(kind, tmp_path):
    torch.manual_seed(0)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.7).to_event(1))

    pair, _ = generator(LIKELIHOODS[kind], guide)
    told = pv.adversarial(pair, pv.MLP(2, [8], 1), sites=["x"])
    assert pv.check_pair(told, X[:64]) == ()
    run = pv.fit(told, X, epochs=5, validation=X[:100], seed=0, **QUIET)
    assert [verdict.kind.name for verdict in run.verdicts] == ["NO_ELBO"]
    assert run.history[-1].elbo != run.history[-1].elbo
    assert torch.tensor([row.loss for row in run.history]).isfinite().all()
    page = pv.write_report(run, X[:64], path=tmp_path / "report.html").read_text()
    assert '<div class="verdict look"' in page
    assert "Diverged" not in page
    for asked in (told, pair):
        assert pv.generate(asked, X[:5])["x"].shape == (5, 2)
        assert pv.prior_predictive(asked, X[:5], draws=3)["x"].shape == (3, 5, 2)
        assert 0.5 < pv.discriminator(asked, X[:200], classifier=LogisticRegression()).area <= 1
        refused = pytest.raises(pv.PairError, match="data have no density there: there is no likelihood")
        for ask in (pv.elbo, pv.log_evidence, pv.psis, pv.rate_distortion, pv.log_likelihood):
            with nullcontext() if kind == "normal" else refused:
                ask(asked, X[:20])
    if kind != "normal":
        assert "log_likelihood" not in pv.to_arviz(pair, X[:20], draws=4, groups=["posterior", "log_likelihood"])


def test_a_discriminator_that_knows_its_rows_by_heart_is_caught_by_others():
    pair, decoder = generator(at_a_point)
    with torch.no_grad():
        decoder.weight[:], decoder.bias[:] = MIXED, MIDDLE  # there is nothing to tell
    found = pv.discriminator(pair, X[:300], classifier=DecisionTreeClassifier())
    assert found.overfitted
    assert found.own_loss < 0.01 < 0.693 < found.loss
    assert "overfitted" in found.verdict


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    def after(steps, folder, **options):
        torch.manual_seed(0)
        pair, decoder = generator(at_a_point)
        told = pv.adversarial(pair, pv.MLP(2, [8], 1), rounds=2)
        pv.fit(told, X, steps=steps, seed=3, checkpoint=folder, staged=False, **QUIET, **options)
        return [p.detach().clone() for p in (*decoder.parameters(), *told.network.parameters())]

    whole = after(12, tmp_path / "whole")
    after(5, tmp_path / "parts")
    parts = after(12, tmp_path / "parts", resume=True)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_the_guide_of_a_pair_is_left_as_it_is():
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 2), scale=0.3), pv.DiagNormal(pv.MLP(2, [], 4)))
    before = {name: p.detach().clone() for name, p in vae.named_parameters()}
    pv.fit(pv.adversarial(vae, pv.MLP(2, [8], 1), sites=["x"]), X, steps=3, **QUIET)
    moved = {name for name, p in vae.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("likelihood")}
    assert pv.elbo(vae, X[:20]).value.isfinite().all()


def test_arguments_that_are_not_observed_stand_beside_draws_and_data():
    """Two observed sites, the second given the first, and what they are given: all of it is learnt."""
    seen = []

    class Noted(Quadratic):
        def forward(self, *columns):
            seen.append([column.shape for column in columns])
            return super().forward(*columns)

    first, second = nn.Linear(1, 2), nn.Linear(2, 1)

    def model(c, x, y):
        pyro.module("first", first)
        pyro.module("second", second)
        with pyro.plate("data", len(x)):
            drawn = pyro.sample("x", dist.Normal(first(c), 1.0).to_event(1), obs=x.double().float())
            noted.append(drawn)
            pyro.sample("y", dist.Normal(second(drawn), 1.0).to_event(1), obs=y)

    noted: list[torch.Tensor] = []
    c, y = torch.randn(500, 1), torch.randn(500, 1)
    pair = pv.own_store(pv.Pair(model, nothing))
    told = pv.adversarial(pair, Noted(4))
    svi = pyro.infer.SVI(told.model, told.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    before = [p.detach().clone() for part in (first, second) for p in part.parameters()]
    for _ in range(2):  # the discriminator says nothing at first
        svi.step(c, X[:500], y)
    assert seen[-1] == [(500, 3), (500, 1)]
    assert not torch.equal(noted[-1], X[:500])  # the second goes on from the draw
    after = [p for part in (first, second) for p in part.parameters()]
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    seen.clear()
    pv.fit(pv.adversarial(pair, Noted(3), aggregate=True), (c, X[:500], y), steps=1, **QUIET)
    assert seen[-1] == [(500, 3)]


def test_several_latents_and_a_fixed_choice_of_classes_may_stand_behind_a_draw():
    """Classes of fixed probability carry no gradient and need none; learned ones are refused."""
    middles, logits = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(3))

    def model(x, learned):
        place = pyro.param("middles", middles)
        odds = pyro.param("logits", logits) if learned else torch.zeros(3)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=odds), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(place[k], 1.0).to_event(1), obs=x)

    def told(learned):
        pair = pv.Pair(lambda x: model(x, learned), nothing)
        return pv.adversarial(pv.own_store(pair), Quadratic(2))

    pv.fit(told(False), X, steps=3, **QUIET)
    assert not torch.equal(middles, torch.zeros(3, 2))
    with pytest.raises(pv.ArgumentError, match="draws 'k' without a pathwise gradient"):
        pv.fit(told(True), X, steps=3, **QUIET)


def observing(sample):
    def model(x):
        place = pyro.param("place", torch.zeros(2))
        with pyro.plate("data", len(x)):
            sample(place, x)

    return pv.own_store(pv.Pair(model, nothing))


def masked(place, x):
    pyro.sample("x", dist.Normal(place, 1.0).mask(x > 0).to_event(1), obs=x)


def counted(place, x):
    pyro.sample("x", dist.Poisson(place.exp()).to_event(1), obs=x.abs().round())


def two_sites(place, x):
    pyro.sample("x", dist.Normal(place, 1.0).to_event(1), obs=x)
    pyro.sample("y", dist.Normal(place, 1.0).to_event(1), obs=x)


def residual(place, x):
    pyro.sample("x", dist.Normal(place, 1.0).to_event(1), obs=x - place)


REFUSED = {
    "masked": (masked, {}, "the observed site 'x' is masked"),
    "counted": (counted, {}, r"draws 'x' without a pathwise gradient .*dist\.Delta"),
    "one of two": (two_sites, {"sites": ["x"]}, "the model observes 'y', too"),
    "residual": (residual, {}, "observes what is computed of the model's own draws"),
    "contrast": (two_sites, {"contrast": 4}, "contrast is of a guide"),
    "no such site": (two_sites, {"sites": ["w"]}, "names 'w', which is none.*the observed ones 'x', 'y'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taught_by_draws_is_refused_in_words(name):
    sample, options, words = REFUSED[name]
    with pytest.raises(pv.ArgumentError, match=words):
        pv.fit(pv.adversarial(observing(sample), Quadratic(2), **options), X, steps=1, **QUIET)


def test_sites_of_both_kinds_and_weights_that_all_rows_share_are_refused():
    vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 2), scale=0.3), pv.DiagNormal(pv.MLP(2, [], 4)))
    with pytest.raises(pv.ArgumentError, match=r"row are 'z', the observed ones 'x'\. Name sites of one kind"):
        pv.fit(pv.adversarial(vae, Quadratic(4), sites=["z", "x"]), X, steps=1, **QUIET)

    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w, 1.0).expand([2]).to_event(1), obs=x)

    with pytest.raises(pv.ArgumentError, match="'w' is drawn for all rows together"):
        pv.fit(pv.adversarial(pv.Pair(model, nothing), Quadratic(2)), X, steps=1, **QUIET)


def test_a_model_that_reads_what_it_observes_is_told_of():
    def sample(place, x):
        pyro.sample("x", dist.Normal(place + 0.1 * x.roll(1, -1), 1.0).to_event(1), obs=x)

    with pytest.warns(pv.PyrovaeWarning, match="reads-observed"):
        pv.check_pair(pv.adversarial(observing(sample), Quadratic(2)), X[:32])
