"""Series of several lengths, with gaps: what is not there counts nowhere, and figures are those of the linear truth."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO

import pyrovae as pv

LENGTHS = torch.tensor([6, 4, 6, 1, 3])
FAMILIES = {
    "real": (None, lambda: torch.randn(5, 6, 3)),
    "binary": (pv.Bernoulli, lambda: (torch.rand(5, 6, 3) > 0.5).float()),
    "counts": (pv.Poisson, lambda: torch.poisson(torch.full((5, 6, 3), 4.0))),
    "whole numbers": (pv.Poisson, lambda: torch.poisson(torch.full((5, 6, 3), 4.0)).long()),
    "classes": (lambda _: pv.Categorical(pv.MLP(2, [8], 9), classes=3), lambda: torch.randint(0, 3, (5, 6, 3))),
    "together": (lambda _: pv.FullNormal(pv.MLP(2, [8], 9)), lambda: torch.randn(5, 6, 3)),
}


@pytest.fixture(autouse=True)
def _same_numbers():
    pyro.set_rng_seed(0)


def made(likelihood=None, **options):
    return pv.recipes.sequence_vae(3, 2, 6, likelihood=likelihood, hidden=8, **options)


def ragged(x):
    """The same series with gaps and lengths."""
    x = x.clone()
    lowest = math.nan if x.is_floating_point() else torch.iinfo(x.dtype).min
    x[0, 2:4], x[1, 0, 1] = lowest, lowest
    return x


def garbage(x, more: int):
    """The same with other things behind each series, and more steps."""
    wide = torch.cat([x, x.new_zeros(5, more, 3)], 1)
    for row, length in enumerate(LENGTHS):
        wide[row, length:] = -77
    wide[3, 1:3] = math.nan if x.is_floating_point() else 10**9
    return wide


def weights(pair, *data, z=None):
    """log p(x, z) and log q(z) of each row, and the z that the guide drew."""
    with torch.no_grad():
        z = pair.guide(*data) if z is None else z
        guide, model = (
            poutine.trace(poutine.condition(side, {"z": z})).get_trace(*data) for side in (pair.guide, pair.model)
        )
    guide.compute_log_prob()
    model.compute_log_prob()
    joint = model.nodes["z"]["log_prob"] + model.nodes["x"]["log_prob"]
    return torch.stack([joint, guide.nodes["z"]["log_prob"]]), guide.nodes["z"]["value"]


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_padding_enters_no_figure(name, both_ways):
    likelihood, draw = FAMILIES[name]
    vae, x = made(likelihood, both_ways=both_ways), ragged(draw())
    pyro.set_rng_seed(1)
    expected, z = weights(vae, x, LENGTHS)
    assert expected.isfinite().all()
    for more in (0, 4):
        pyro.set_rng_seed(1)
        found, drawn = weights(vae, garbage(x, more), LENGTHS)
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.allclose(drawn[:, :6], z, atol=1e-5)
    for row, length in enumerate(LENGTHS):
        alone, _ = weights(vae, x[row : row + 1, :length], z=z[row : row + 1, :length])
        assert torch.allclose(alone[:, 0], expected[:, row], atol=1e-5)


@pytest.mark.slow
def test_series_that_go_with_no_other_lengths_are_data_like_any_others(tmp_path):
    x, lengths = FAMILIES["real"][1](), torch.tensor([1, 2, 6, 2, 1])
    x[1:3, 0] = math.nan  # of one step, as row 0 and 4 have, nothing would be there
    vae = made()
    assert pv.check_pair(vae, x, lengths) == ()
    run = pv.fit(vae, (x, lengths), steps=2, seed=0, progress=False)
    assert run.step == 2
    found = pv.to_arviz(vae, x, lengths, draws=2)
    assert found["constant_data"]["lengths"].values.tolist() == lengths.tolist()
    assert "x" not in found["constant_data"]
    assert pv.calibration(vae, x, lengths, draws=20)["x"].coverage.isfinite().all()
    assert pv.write_report(run, x, lengths, path=tmp_path / "report.html").exists()


@pytest.mark.parametrize("ask", [pv.log_evidence, pv.elbo])
def test_figures_of_the_package_do_not_see_padding(ask):
    vae, x = made(), ragged(FAMILIES["real"][1]())
    one, other = (ask(vae, data, LENGTHS, draws=30, seed=3).value for data in (x, garbage(x, 4)))
    assert torch.allclose(one, other, atol=1e-5)
    gone = garbage(x, 1)
    for row, length in enumerate(LENGTHS):
        gone[row, length:] = math.nan
    assert torch.allclose(ask(vae, gone, draws=30, seed=3).value, one, atol=1e-5)  # NaN says as much as lengths


def test_gradients_do_not_see_padding():
    found = []
    for more in (0, 3):
        torch.manual_seed(0)
        vae, x = made(), ragged(FAMILIES["real"][1]())
        data = garbage(x, more) if more else x
        pyro.set_rng_seed(1)
        Trace_ELBO().loss_and_grads(vae.model, vae.guide, data, LENGTHS)
        found.append(torch.cat([one.grad.flatten() for one in vae.parameters()]))
    assert found[0].isfinite().all()
    assert found[0].norm() > 0
    assert torch.allclose(*found, atol=1e-4)


class ExactMessages(torch.nn.Module):
    """What the data from each step on say of a linear chain of one dim: the backward recursion of its information."""

    def __init__(self, truth):
        super().__init__()
        self.truth = truth

    def forward(self, x, seen):
        a, q, weight, r = 0.8, 0.6, self.truth.weight[:, 0], 0.5
        precision, weighed, found = torch.zeros(len(x)), torch.zeros(len(x)), []
        for t in reversed(range(x.shape[1])):
            damped = 1 + q**2 * precision
            precision, weighed = a**2 * precision / damped, a * weighed / damped
            precision = precision + (seen[:, t] * weight.square()).sum(-1) / r**2
            weighed = weighed + torch.where(seen[:, t], weight * x[:, t], 0.0).sum(-1) / r**2
            found.insert(0, (weighed / precision.clamp(min=1e-6), precision.clamp(min=1e-6).rsqrt()))
        loc, scale = (torch.stack(part, 1).unsqueeze(-1) for part in zip(*found, strict=True))
        return pyro.distributions.Normal(loc, scale).to_event(1)


def linear():
    """A `SequenceVAE` of the same numbers as a linear state space model, its guide exact, and this model."""
    truth = pv.truth.LinearStateSpace(torch.tensor([[0.8]]), torch.tensor([[1.0], [-0.5]]), 0.6, 0.5)
    vae = pv.SequenceVAE(
        prior=pv.LearnedNormal(1),
        transition=pv.DiagNormal(pv.GatedTransition(1, 4)),
        likelihood=pv.Normal(pv.MLP(1, [], 2), scale=0.5),
        posterior=ExactMessages(truth),
        steps=5,
    )
    network, decoder = vae.transition.network, vae.likelihood.network.layers[0]
    bound = 20 / math.pi
    with torch.no_grad():
        vae.prior.log_scale.fill_(bound * math.tan(0.5 * math.log(float(truth.initial)) / bound))
        network.gate.layers[-1].weight.zero_()
        network.gate.layers[-1].bias.fill_(-50.0)
        network.linear.weight.fill_(0.8)
        network.scale.weight.zero_()
        network.scale.bias.fill_(bound * math.tan(math.log(0.6) / bound))
        decoder.weight.copy_(truth.weight)
        decoder.bias.zero_()
    return vae, truth


def test_a_linear_one_has_the_evidence_of_the_kalman_filter():
    """Its guide can be the posterior: with the messages of a linear chain every draw weighs the evidence."""
    vae, truth = linear()
    x, lengths = truth.sample(6, 5, seed=1), torch.tensor([5, 5, 4, 3, 2, 1])
    x[0, 1:3], x[1, 4, 0] = math.nan, math.nan
    (joint, guide), _ = weights(vae, x, lengths)
    assert torch.allclose(joint - guide, truth.log_evidence(x, lengths), atol=1e-4)
    found = pv.log_evidence(vae, x, lengths, draws=3)
    assert torch.allclose(found.value.float(), truth.log_evidence(x, lengths), atol=1e-4)
    many = pv.encode(vae, x, lengths, draws=2_000)["z"]
    assert torch.allclose(many.mean, truth.posterior(x, lengths).mean, atol=0.1)


def test_what_follows_is_drawn_as_the_model_goes_on():
    """Behind the last cell the guide is the transition, to the bit, and forecasts have its moments."""
    vae, _ = linear()
    x = torch.cat([torch.randn(1, 2, 2), torch.full((1, 3, 2), math.nan)], 1).expand(3_000, -1, -1)
    with torch.no_grad():
        z = vae.guide(x)
    step = z[:, 2:] - 0.8 * z[:, 1:-1]
    assert torch.allclose(step.std(0), torch.full((3, 1), 0.6), atol=0.04)
    assert float(step.mean(0).abs().max()) < 0.05
    found = pv.posterior_predictive(vae, x[:1], draws=3_000)["x"][:, 0, 4, 0]
    assert float(found.var()) == pytest.approx(float(z[:, 4].var()) + 0.25, rel=0.12)
    shorter = torch.cat([x[:1, :2], torch.full((1, 3, 2), 9.9)], 1)
    again = pv.posterior_predictive(vae, shorter, torch.tensor([2]), draws=3_000)["x"][:, 0, 4, 0]
    assert torch.equal(again, found)  # a length that ends before the array says the same


@pytest.mark.slow
def test_gaps_are_filled_and_what_is_there_stays():
    vae, x = made(), ragged(FAMILIES["real"][1]())
    found = pv.impute(vae, x, LENGTHS, draws=5)
    values, missing = found.values["x"], found.missing["x"]
    inside = torch.arange(6) < LENGTHS.unsqueeze(-1)
    assert torch.equal(missing, x.isnan() | ~inside.unsqueeze(-1))
    assert values.isfinite().all()
    assert torch.equal(values[:, ~missing], x[~missing].expand(5, -1))
    assert (values[0] != values[1])[missing].all()


def test_intervals_of_gaps_hold_what_they_say():
    vae, truth = linear()
    x = truth.sample(400, 5, seed=2)
    hole = torch.rand(400, 5, 1, generator=torch.Generator().manual_seed(3)).lt(0.4).repeat(1, 1, 2)
    hole[:, 0] = False  # no series is empty
    low, high = pv.impute(vae, x.masked_fill(hole, math.nan), draws=100, seed=0).interval(0.9)["x"]
    assert 0.88 < float(((low <= x) & (x <= high))[hole].float().mean()) < 0.92


def test_drawn_series_have_as_many_steps_as_said():
    vae = made(pv.Poisson)
    assert pv.generate(vae, 4, seed=0)["x"].shape == (4, 6, 3)
    assert pv.encode(vae, *vae.blank(2))["z"].mean.shape == (2, 6, 2)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda x: pv.elbo(made(), x[..., :2]), r"shape \(rows, steps, 3\)"),
        (lambda x: pv.elbo(made(), x, torch.tensor([6, 0, 6, 6, 6])), "row 1 is 0"),
        (lambda x: fit(made(), x, torch.tensor([6, 6, 7, 6, 6])), "row 2 is 7"),
        (lambda x: fit(made(), x, torch.tensor([6, 6, 1.5, 6, 6])), "row 2 is 1.5"),
        (lambda x: made().model(x, torch.tensor([6, -1, 6, 6, 6])), "row 1 is -1"),
        (lambda x: pv.elbo(made(), x, LENGTHS[:, None]), "one number a series"),
        (lambda x: pv.elbo(made(), x, LENGTHS > 3), "these are True and False"),
        (lambda x: pv.impute(made(), torch.full_like(x, math.nan)), "row 0 are missing"),
        (lambda x: made().guide(x[:, :0]), "no steps"),
        (lambda _: pv.recipes.sequence_vae(3, 0, 6), "latent=0"),
        (lambda _: pv.recipes.sequence_vae(3, 2, 0), "steps=0"),
        (lambda x: changed(transition=pv.StudentT(pv.MLP(2, [], 4))).guide(x), "give a diagonal normal"),
        (lambda x: changed(prior=pv.Mixture(3, 2)).guide(x), "the prior of a series' latents"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ask, words):
    with pytest.raises(pv.PyrovaeError, match=words):
        ask(torch.randn(5, 6, 3))


def fit(vae, *data):
    return pv.fit(vae, data, steps=1, batch_size=5, progress=False)


def changed(**parts):
    vae = made()
    own = {name: getattr(vae, name) for name in ("prior", "transition", "likelihood", "posterior")}
    return pv.SequenceVAE(**{**own, **parts}, steps=6)
