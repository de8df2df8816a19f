"""Discriminators in place of a KL: guides without a density, aggregate posteriors, alternating steps."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.training.parallel.team import SingleProcess

TRUTH = pv.truth.LinearGaussian(torch.tensor([[1.5], [1.0], [-0.5]]), torch.zeros(3), 0.5)
X = TRUTH.sample(1_000)
QUIET = {"progress": False, "batch_size": 128}


def implicit_vae():
    posterior = pv.Implicit(pv.MLP([3, 2], [16], 1, activation=nn.SiLU), noise=2)
    return pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=pv.LearnedScale()), posterior)


def told(vae, **options):
    return pv.adversarial(vae, pv.MLP([1, 3], [32, 32], 1, activation=nn.SiLU), **options)


def evidence_of_decoder(vae):
    linear = next(part for part in vae.likelihood.modules() if isinstance(part, nn.Linear))
    parts = linear.weight.detach(), linear.bias.detach(), vae.likelihood.scale().detach()
    return float(pv.truth.LinearGaussian(*parts).log_evidence(X).mean())


@pytest.mark.slow
def test_the_decoder_of_an_implicit_guide_reaches_the_highest_evidence():
    torch.manual_seed(1)
    vae = implicit_vae()
    pair = told(vae, contrast=8)
    for seed, (rate, steps) in enumerate(((1e-2, 300), (2e-3, 100))):
        run = pv.fit(pair, X, steps=steps, learning_rate=rate, seed=seed, **QUIET)
    best = float(pv.truth.LinearGaussian.maximum_likelihood(X, 1).log_evidence(X).mean())
    assert best - 0.05 < evidence_of_decoder(vae) <= best + 1e-4
    assert "What the history calls ELBO is none" in run.verdict
    assert "Diverged" not in run.verdict
    assert run.history[-1].elbo != run.history[-1].elbo  # NaN: T is no density
    exact = TRUTH.posterior(X[:100])
    drawn = pv.posterior(vae, X[:100], draws=300, seed=0)["z"]
    sign = (drawn.mean(0) * exact.mean).sum().sign()
    assert (sign * drawn.mean(0) - exact.mean).abs().mean() < 0.06
    assert drawn.std(0).mean() == pytest.approx(float(exact.variance[0].sqrt()), rel=0.15)


@pytest.mark.slow
def test_what_needs_a_density_is_refused_and_the_rest_stands():
    torch.manual_seed(0)
    vae = implicit_vae()
    x = X[:32]
    for pair in (vae, told(vae)):
        for ask in (pv.elbo, pv.log_evidence, pv.psis, pv.rate_distortion, pv.inference_gap):
            with pytest.raises(
                pv.PairError, match=r"'z' is drawn by noise through a network.*such a draw has no density"
            ):
                ask(pair, x)
        assert pv.encode(pair, x)["z"].scale.min() > 0
        assert pv.posterior_predictive(pair, x, draws=3)["x"].shape == (3, 32, 3)
        found = pv.ais(pair, x[:2], start="prior", chains=8, steps=60)
        assert found.lower.value.isfinite().all()
    assert pv.check_pair(told(vae), x) == ()


@pytest.mark.slow
def test_annealing_from_the_prior_gives_the_evidence_of_the_model():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pv.Implicit(lambda x, noise: x[..., :1] + noise, noise=1)(x))

    pair = pv.Pair(TRUTH.model, guide)
    found = pv.ais(pair, X[:20], start="prior", chains=16, steps=100)
    assert float(found.lower.value.mean()) == pytest.approx(float(TRUTH.log_evidence(X[:20]).mean()), abs=0.1)


FIGURES = {
    "ais": lambda pair, x: pv.ais(pair, x, chains=2, steps=5).lower.value,
    "inference_gap": lambda pair, x: pv.inference_gap(pair, x, draws=20).total.value,
    "check_guide": lambda pair, x: pv.check_guide(pair, x, draws=20, warmup=20)["z"].nuts_mean,
    "elbo": lambda pair, x: pv.elbo(pair, x, draws=20).value,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "inference_gap" else name for name in FIGURES]
)
def test_figures_of_a_pair_with_a_density_are_those_without_the_discriminator(name):
    """Also those that take gradients; neither temper nor a wrapper around the discriminator changes them."""
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=0.7), pv.DiagNormal(pv.MLP(3, [], 2)))
    expected = FIGURES[name](vae, X[:4])
    for pair in (told(vae), pv.temper(told(vae), 0.0), pv.free_bits(told(vae), {"z": 0.1})):
        assert torch.equal(FIGURES[name](pair, X[:4]), expected)


def test_trainings_that_cannot_be_are_refused_in_words():
    vae = implicit_vae()
    with pytest.raises(pv.PairError, match=r"Put a discriminator in its place: pv\.adversarial"):
        pv.fit(vae, X, steps=2, **QUIET)
    with pytest.raises(pv.ArgumentError, match="patience=1: 'z' has no density here"):
        pv.fit(told(vae), X, epochs=1, patience=1, validation=X, **QUIET)
    with pytest.raises(pv.ArgumentError, match="IWAE weighs draws by the guide's density"):
        pv.fit(told(vae), X, steps=2, loss=pv.objectives.IWAE(2), **QUIET)
    with pytest.raises(pv.ArgumentError, match="names 'w', which is none: the latent sites of each row are 'z'"):
        pv.fit(told(vae, sites=["w"]), X, steps=2, **QUIET)
    with pytest.raises(pv.ArgumentError, match="one number a row"):
        pv.fit(pv.adversarial(vae, pv.MLP([1, 3], [], 2)), X, steps=2, **QUIET)
    with pytest.raises(pv.ArgumentError, match=r"tensors of shape \(128, 1\), \(128, 3\) \(the values.*nn\.Unflatten"):
        pv.fit(pv.adversarial(vae, nn.Linear(4, 1)), X, steps=2, **QUIET)
    with pytest.raises(pv.ArgumentError, match=r"tensors of shape \(128, 1\) \(the values"):
        pv.fit(told(vae, aggregate=True), X, steps=2, **QUIET)
    with pytest.raises(pv.ArgumentError, match="as discriminator, got"):
        pv.adversarial(vae, torch.sigmoid)
    with pytest.raises(pv.ArgumentError, match="contrast takes two draws"):
        told(vae, contrast=1)


def test_the_report_says_of_a_training_what_its_result_says(tmp_path):
    run = pv.fit(told(implicit_vae()), X, epochs=5, seed=0, **QUIET)
    kinds = [verdict.kind.name for verdict in run.verdicts]
    assert kinds[0] == "NO_ELBO"
    assert kinds[1] in ("ACTIVE", "COLLAPSED")
    page = pv.write_report(run, X[:64], path=tmp_path / "report.html").read_text()
    assert f'<div class="verdict {"bad" if "COLLAPSED" in kinds else "look"}"' in page
    assert "Diverged" not in page
    assert ">Loss<" in page
    assert [axis.get_title() for axis in run.plot().axes] == ["loss", "distortion"]


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    def trained(steps, folder, **options):
        torch.manual_seed(0)
        pair = told(implicit_vae(), rounds=2)
        pv.fit(pair, X, steps=steps, seed=3, checkpoint=folder, staged=False, **QUIET, **options)
        return [p.detach().clone() for p in (*pair.pair.parameters(), *pair.network.parameters())]

    whole = trained(12, tmp_path / "whole")
    trained(5, tmp_path / "parts")
    parts = trained(12, tmp_path / "parts", resume=True)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_steps_of_the_discriminator_come_before_those_of_the_pair():
    """With a rate of 0 for the pair only the discriminator moves, and by so many steps as there are rounds."""
    moved = []
    for rounds in (1, 3):
        torch.manual_seed(0)
        pair = told(implicit_vae(), rounds=rounds)
        before = {name: p.detach().clone() for name, p in pair.network.named_parameters()}
        others = [p.detach().clone() for p in pair.pair.parameters()]
        pv.fit(pair, X, steps=1, learning_rate={"*adversarial*": 1e-3, "*": 0}, seed=0, **QUIET)
        moved.append(max(float((p.detach() - before[name]).abs().max()) for name, p in pair.network.named_parameters()))
        assert all(torch.equal(p, other) for p, other in zip(pair.pair.parameters(), others, strict=True))
    assert moved[0] == pytest.approx(1e-3, rel=0.05)  # a step of Adam's
    assert 2e-3 < moved[1] < 3.2e-3


@pytest.mark.slow
def test_the_aggregate_posterior_is_matched_to_a_prior_that_can_only_be_drawn_from():
    """A guide with a density, a flat prior from 0 to 4 without one: q(z) over all data is to be flat there."""
    torch.manual_seed(0)
    prior = pv.Implicit(lambda noise: 4 * torch.special.ndtr(noise), noise=1)
    vae = pv.VAE(prior, pv.Normal(pv.MLP(1, [32], 3), scale=0.5), pv.DiagNormal(pv.MLP(3, [32], 2)))
    pair = pv.adversarial(vae, pv.MLP(1, [32, 32], 1, activation=nn.SiLU), aggregate=True)
    for seed, rate in enumerate((5e-3, 1e-3)):
        pv.fit(pair, X, steps=400, learning_rate=rate, temper=3.0, seed=seed, **QUIET)
    z = pv.posterior(vae, X, draws=1, seed=0)["z"].flatten()
    assert float(z.mean()) == pytest.approx(2.0, abs=0.15)
    assert float(z.std()) == pytest.approx(4 / 12**0.5, abs=0.1)
    assert float(z.quantile(0.25)) == pytest.approx(1.0, abs=0.15)  # of a normal of that spread 1.22


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"aggregate": True}, {"contrast": 4}])
def test_a_prior_without_pathwise_draws_goes_where_the_guide_is(options):
    vae = implicit_vae()
    vae.prior = pv.Mixture(2, 1)
    assert not vae.prior().has_rsample
    last = [part for part in vae.posterior.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        last.bias.fill_(3.0)
        last.weight.mul_(0.1)
    network = pv.MLP(1, [8], 1) if "aggregate" in options else pv.MLP([1, 3], [8], 1)
    before = float(vae.prior().mean.detach())
    rates = {"*posterior*": 0.0, "*": 5e-2}
    pv.fit(pv.adversarial(vae, network, **options), X, steps=250, learning_rate=rates, seed=0, **QUIET)
    assert abs(before) < 2
    assert float(vae.prior().mean.detach()) == pytest.approx(float(pv.encode(vae, X)["z"].mean.mean()), abs=0.2)


def test_several_processes_are_refused(monkeypatch):
    """Each would move its discriminator by its own rows alone, and their weights would part."""
    monkeypatch.setattr(SingleProcess, "size", 2)
    for rounds in (0, 1):
        with pytest.raises(pv.ArgumentError, match="train in one process"):
            pv.fit(told(implicit_vae(), rounds=rounds), X, steps=1, **QUIET)


def test_an_elbo_loop_of_the_callers_moves_both():
    torch.manual_seed(0)
    pair = told(implicit_vae())
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    before = [p.detach().clone() for p in (*pair.pair.parameters(), *pair.network.parameters())]
    svi.step(X[:64])
    after = [*pair.pair.parameters(), *pair.network.parameters()]
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_guide_with_a_density_keeps_its_figures():
    torch.manual_seed(0)
    vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=0.5), pv.DiagNormal(pv.MLP(3, [], 2)))
    pair = pv.adversarial(vae, pv.MLP(1, [8], 1), aggregate=True)
    assert torch.equal(pv.elbo(pair, X[:8], draws=20).value, pv.elbo(vae, X[:8], draws=20).value)
    assert isinstance(vae.posterior(X[:2]).base_dist, dist.Normal)
