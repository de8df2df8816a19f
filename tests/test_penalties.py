"""Penalties around any pair: total correlation and mean discrepancy against quadrature, closed forms and loops."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from batch_gradients import BATCH, make
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from registry import arguments, pairs
from torch.distributions import MultivariateNormal

import pyrovae as pv

QUIET = {"progress": False, "device": "cpu"}
X = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
TRUTH = pv.truth.LinearGaussian(torch.tensor([[1.5, 0.4], [0.2, 1.0], [-1.0, 1.2]]), torch.zeros(3), 0.5)
DATA = TRUTH.sample(200, seed=0)


def vae(seed=0, latent=2, width=5):
    torch.manual_seed(seed)
    posterior = pv.DiagNormal(pv.MLP(width, [], 2 * latent))
    return pv.VAE(pv.StandardNormal(latent), pv.Normal(pv.MLP(latent, [], width), scale=1.0), posterior)


def penalty_of(penalised, *batch, seed=0):
    """The penalty of one run, per datum."""
    pyro.set_rng_seed(seed)
    guide = poutine.trace(penalised.guide).get_trace(*batch)
    model = poutine.trace(poutine.replay(penalised.model, trace=guide)).get_trace(*batch)
    factor = model.nodes[f"_{penalised.name}"]
    return -factor["fn"].log_prob(factor["value"]).item() / penalised.weight / len(batch[0]), guide


def posterior_of(truth, x):
    """Mean and covariance of each row's posterior: a joint normal."""
    fn = poutine.trace(truth.guide).get_trace(x).nodes["z"]["fn"]
    return fn.mean, fn.covariance_matrix


def within(values, exact):
    values = torch.tensor(values)
    error = float(values.std() / len(values) ** 0.5)
    assert abs(float(values.mean()) - exact) < 4 * error
    assert error < 0.05


def test_total_correlation_of_a_joint_normal_is_the_one_of_a_quadrature():
    means, covariance = (t.double() for t in posterior_of(TRUTH, DATA))
    axis = torch.linspace(-5, 5, 101, dtype=torch.double)
    grid = torch.cartesian_prod(axis, axis).unsqueeze(1)
    log_q = MultivariateNormal(means, covariance).log_prob(grid).logsumexp(1).reshape(101, 101) - math.log(len(DATA))
    cell = float(axis[1] - axis[0])
    mass = (log_q.exp() * cell**2) / (log_q.exp().sum() * cell**2)
    sides = [mass.sum(1), mass.sum(0)]
    exact = float((mass * (mass / sides[0].unsqueeze(1) / sides[1]).clamp(min=1e-300).log()).sum())
    penalised = pv.total_correlation(TRUTH, 2.0, rows=len(DATA))
    within([penalty_of(penalised, DATA, seed=seed)[0] for seed in range(30)], exact)
    assert exact > 0.01


@pytest.mark.parametrize("stratified", [True, False])
def test_rows_of_a_batch_are_weighted_as_the_paper_says(stratified):
    pair, x, rows = vae(), X[:7], 60
    found, guide = penalty_of(pv.total_correlation(pair, 3.0, rows=rows, stratified=stratified), x)
    fn, z = guide.nodes["z"]["fn"].base_dist, guide.nodes["z"]["value"].detach()
    expected = 0.0
    for i in range(7):
        log_q = torch.stack(
            [dist.Normal(fn.loc[j].detach(), fn.scale[j].detach()).log_prob(z[i]) for j in range(7)]
        ).exp()
        weights = torch.full((7, 1), 1 / (rows * 7))
        if stratified:
            weights = torch.full((7, 1), (rows - 1) / (rows * 6))
            weights[i] = 1 / rows
        joint = (log_q.prod(1, keepdim=True) * weights).sum().log()
        expected += (joint - (log_q * weights).sum(0).log().sum()).item() / 7
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_discrepancy_of_linear_gaussians_is_the_closed_form(bandwidth):
    x = DATA[:40] + 0.7
    means, covariance = posterior_of(TRUTH, x)
    width = bandwidth or 2**0.5

    def kernel(apart, total):
        """E k of two normals, by their difference."""
        wide = total + width**2 * torch.eye(2)
        scale = (width**2 * torch.eye(2)).det().sqrt() / wide.det().sqrt()
        return scale * (-0.5 * (apart * torch.linalg.solve(wide, apart.unsqueeze(-1)).squeeze(-1)).sum(-1)).exp()

    own = covariance[0]
    within_q = kernel(means.unsqueeze(1) - means, 2 * own)
    within_q = (within_q.sum() - within_q.diagonal().sum()) / (40 * 39)
    exact = within_q + kernel(torch.zeros(2), 2 * torch.eye(2)) - 2 * kernel(means, own + torch.eye(2)).mean()
    penalised = pv.mmd(TRUTH, 5.0, bandwidth=bandwidth)
    within([penalty_of(penalised, x, seed=seed)[0] for seed in range(200)], float(exact))
    assert exact > 0.02


def test_two_penalties_of_a_kind_are_both_punished():
    """The sum of discrepancies of two bandwidths, and of weights."""
    one, other = (pv.mmd(vae(), weight, bandwidth=width) for weight, width in ((5.0, 0.5), (9.0, 2.0)))
    both = pv.mmd(pv.mmd(vae(), 5.0, bandwidth=0.5), 9.0, bandwidth=2.0)
    lone = [penalty_of(pair, X) for pair in (one, other)]
    pyro.set_rng_seed(0)
    guide = poutine.trace(both.guide).get_trace(X)
    model = poutine.trace(poutine.replay(both.model, trace=guide)).get_trace(X)
    factors = [model.nodes[name] for name in ("_mmd", "_mmd_2")]
    found = [-factor["fn"].log_prob(factor["value"]).item() / len(X) for factor in factors]
    assert torch.equal(guide.nodes["z"]["value"], lone[0][1].nodes["z"]["value"])
    assert found[0] == pytest.approx(
        5.0 * lone[0][0], rel=1e-4
    )  # the same draws of the prior, the first after the guide
    assert found[1] == pytest.approx(9.0 * lone[1][0], abs=9.0 * 0.05)  # others, of 60 rows
    assert found[1] > 0.1


def penalties(rows=BATCH):
    return [lambda pair, **o: pv.total_correlation(pair, 4.0, rows=rows, **o), lambda pair, **o: pv.mmd(pair, 9.0, **o)]


both = pytest.mark.parametrize("penalise", penalties(), ids=["total_correlation", "mmd"])
in_data = pytest.mark.parametrize("penalise", penalties(60), ids=["total_correlation", "mmd"])

# What a penalty refuses: no continuous latent of each row; one that is enumerated, masked, without a gradient, or in a
# plate of particles; one whose density, dimension by dimension, nobody knows.
_BOTH = [
    "maximum_likelihood",
    "enumerated_mixture",
    "enumerated_mixture_map",
    "enumerated_guide",
    "score_function",
    "score_function_average_baseline",
    "score_function_neural_baseline",
    "enumerated_guide_sequential",
    "categorical_codes",
    "some_labels",
    "structured_guide",
    "zero_inflated",
    "masked_mixture",
    "auto_normal",
    "auto_diagonal_normal",
    "bounded_global",
    "partial_functions",
    "observation_mask",
    "ragged_series",
    "time_steps",
]
_CORRELATION = [
    "autoregressive_flow_guide",
    "hierarchical",
    "nested_plates",
    "crossed_plates",
    "auxiliary_by_hand",
    "bent_prior_and_guide",
    "ladder",
    "two_levels_with_pseudo_inputs",
    "straight_through",
]
REFUSED = {"total_correlation": {*_BOTH, *_CORRELATION}, "mmd": {*_BOTH, "enumerated_prior", "clusters"}}


@both
@pytest.mark.filterwarnings("ignore:at model site:RuntimeWarning")  # Pyro's, where the guide sums out classes, too
@pytest.mark.parametrize("entry", pairs(without={"full_data", "local_autoguide"}))
def test_every_style_is_penalised_or_refused_in_words(entry, penalise):
    pair, batch = make(entry)
    positional, named = arguments(batch)
    penalised = penalise(pair)
    loss = entry.loss()
    if entry.name in REFUSED[penalised.name] or not entry.latent:
        with pytest.raises(pv.ArgumentError, match=penalised.name):
            _loss(penalised, loss, positional, named)
    else:
        assert _loss(penalised, loss, positional, named) != _loss(pair, loss, positional, named)


def _loss(pair, loss, args, kwargs):
    pyro.set_rng_seed(4)
    return loss.loss_and_grads(pair.model, pair.guide, *args, **kwargs)


@in_data
def test_figures_do_not_see_a_penalty(penalise):
    pair = vae()
    assert pv.check_pair(penalise(pair), X) == ()
    for figure in (pv.elbo, pv.log_evidence):
        mine, plain = (figure(one, X, draws=20, seed=0) for one in (penalise(pair), pair))
        torch.testing.assert_close(mine.value, plain.value)
    assert pv.rate_distortion(penalise(pair), X, seed=0) == pv.rate_distortion(pair, X, seed=0)
    run = pv.fit(penalise(vae()), X, epochs=2, seed=0, validation=X[:9], **QUIET)
    last = run.history[-1]
    assert last.elbo == pytest.approx(-(last.rate + last.distortion), rel=1e-5)
    assert abs(last.loss + last.elbo) > 1e-3


@in_data
def test_temper_leaves_a_penalty_alone_wherever_it_stands(penalise):
    pair, loss = vae(), TraceMeanField_ELBO(max_plate_nesting=1)
    least = _loss(pv.temper(pair, 0.0), loss, (X,), {})
    apart = penalty_of(penalise(pair), X, seed=4)[0] * penalise(pair).weight * len(X)
    for one in (pv.temper(penalise(pair), 0.0), penalise(pv.temper(pair, 0.0))):
        assert _loss(one, loss, (X,), {}) - least == pytest.approx(apart, rel=1e-3)


@in_data
def test_a_staged_step_is_the_plain_one(penalise):
    losses = {}
    for staged in (False, "traced"):
        run = pv.steps(penalise(vae()), X, steps=12, batch_size=16, seed=0, staged=staged, device="cpu")
        losses[staged] = [step.loss for step in run]
    assert losses["traced"] == pytest.approx(losses[False], rel=1e-4)


@in_data
def test_training_resumes_bit_for_bit_and_names_another_weight(penalise, tmp_path):
    options = {"batch_size": 16, "seed": 0, "staged": False, **QUIET}
    whole, parts = vae(), vae()
    pv.fit(penalise(whole), X, epochs=4, **options)
    pv.fit(penalise(parts), X, epochs=2, checkpoint=tmp_path, **options)
    other = vae()
    with pytest.raises(pv.ArgumentError, match="around VAE was"):
        pv.fit(pv.mmd(other, 1.0), X, epochs=4, checkpoint=tmp_path, resume=True, **options)
    again = vae()
    pv.fit(penalise(again), X, epochs=4, checkpoint=tmp_path, resume=True, **options)
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.slow
@in_data
def test_training_lowers_what_is_punished(penalise):
    x = X @ torch.tensor([[1.0, 1.0, 0, 0, 0]] * 2 + [[0, 0, 1.0, 0, 0]] * 3) * 2 + 1
    ends = {}
    for weight in (0.0, 500.0):
        pair = vae(1)
        penalised = penalise(pair)
        penalised.weight = weight
        pv.fit(penalised, x, steps=200, learning_rate=2e-2, seed=0, temper=0.3, **QUIET)
        penalised.weight = 1.0
        ends[weight] = sum(penalty_of(penalised, x, seed=seed)[0] for seed in range(20)) / 20
    assert ends[500.0] < 0.5 * ends[0.0]


def test_a_site_given_another_one_is_refused_or_left_out():
    pair, batch = make("hierarchical")
    positional, named = arguments(batch)
    guide = poutine.trace(pair.guide).get_trace(*positional, **named)
    first, second = (name for name in guide.nodes if name in ("z1", "z2"))
    with pytest.raises(pv.ArgumentError, match=f"draws '{second}' given '{first}'"):
        _loss(pv.total_correlation(pair, 1.0, rows=BATCH), Trace_ELBO(), positional, named)
    one = pv.total_correlation(pair, 1.0, rows=BATCH, sites=[first])
    assert math.isfinite(_loss(one, Trace_ELBO(), positional, named))
    with pytest.raises(pv.ArgumentError, match="the model draws 'z1' given 'z2'"):
        _loss(pv.mmd(pair, 1.0, sites=["z1"]), Trace_ELBO(), positional, named)
    tops = [penalty_of(pv.mmd(pair, 1.0, **o), *positional)[0] for o in ({}, {"sites": ["z2"]})]
    assert tops[0] == tops[1]


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda p: pv.total_correlation(p, -1.0, rows=60), "weight is -1"),
        (lambda p: pv.total_correlation(p, math.nan, rows=60), "give a finite number"),
        (lambda p: pv.total_correlation(p, 1.0, rows=0), "rows=0"),
        (lambda p: pv.total_correlation(p, 1.0, rows=60, sites="z"), r"sites=\['z'\]"),
        (lambda p: pv.mmd(p, 1.0, bandwidth=0.0), "bandwidth=0.0"),
        (lambda p: pv.total_correlation(p, 1.0, rows=70), "told rows=70, and the data have 60"),
        (lambda p: pv.total_correlation(p, 1.0, rows=60, sites=["w"]), "names 'w'"),
        (lambda p: pv.mmd(p, 1.0, sites=["x"]), "names 'x'"),
        (lambda p: pv.mmd(p, 1.0, sites=[]), "needs a continuous latent site"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make_it, words):
    with pytest.raises(pv.ArgumentError, match=words):
        pv.fit(make_it(vae()), X, steps=1, **QUIET)


def test_one_dimension_and_particles_in_a_plate_are_refused():
    with pytest.raises(pv.ArgumentError, match="one dimension"):
        pv.fit(pv.total_correlation(vae(latent=1), 1.0, rows=60), X, steps=1, **QUIET)
    many = Trace_ELBO(num_particles=3, vectorize_particles=True)
    with pytest.raises(pv.ArgumentError, match="vectorised particles"):
        pv.fit(pv.mmd(vae(), 1.0), X, steps=1, loss=many, **QUIET)
    with pytest.raises(pv.ArgumentError, match="IWAE is none"):
        pv.fit(pv.mmd(vae(), 1.0), X, steps=1, loss=pv.objectives.IWAE(3), **QUIET)
    with pytest.raises(pv.ArgumentError, match="a penalty stands around"):
        pv.fit(pv.mmd(vae(), 1.0), X, steps=1, loss=pyro.infer.RenyiELBO(num_particles=3), **QUIET)


@in_data
def test_a_last_batch_of_one_row_adds_nothing(penalise):
    pair = vae()
    assert penalty_of(penalise(pair), X[:1])[0] == 0.0
    run = pv.fit(penalise(pair), X[:57] if penalise(pair).name == "mmd" else X, epochs=1, batch_size=59, **QUIET)
    assert math.isfinite(run.history[-1].loss)


@in_data
def test_plain_svi_trains_with_a_penalty(penalise):
    pair = penalise(vae())
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    assert math.isfinite(sum(svi.step(X) for _ in range(3)))
