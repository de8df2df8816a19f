"""Every family through one contract, then what is particular to each."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from components import FAMILIES, ROWS, Constant, components
from torch import nn
from torch.nn.functional import logsigmoid

import pyrovae as pv
from pyrovae.checks.testing import check_conditional
from pyrovae.models.conditionals.conditional import bounded
from pyrovae.models.conditionals.distributions import ContinuousBernoulliByLogits, DiscretizedLogisticLevels


@components(FAMILIES)
def test_contract(entry):
    conditional = entry.build()
    check_conditional(conditional, entry.given())
    assert conditional(entry.given()).event_shape == entry.event


@components([entry for entry in FAMILIES if isinstance(entry.output, int)])
def test_network_without_declarations(entry):
    """A plain torch network, which gives vectors, works as well."""
    plain = entry.make(nn.Linear(3, entry.output))
    assert plain(torch.zeros(7, ROWS, 3)).batch_shape == (7, ROWS)
    assert plain(torch.zeros(7, ROWS, 3)).event_shape == entry.event


@components(FAMILIES)
@pytest.mark.parametrize("size", [1e4, -1e4, "mixed"])
def test_wild_first_step(entry, size):
    """Whatever a network gives, a draw, its log-probability and the gradients are finite."""
    output = (entry.output,) if isinstance(entry.output, int) else entry.output
    signs = torch.randn(output, generator=torch.Generator().manual_seed(3)).sign()
    conditional = entry.make(Constant(entry.output, 1e4 * signs if size == "mixed" else size))
    pyro.set_rng_seed(0)
    distribution = conditional(torch.zeros(5, 3))
    value = distribution.sample((20,))
    log_prob = distribution.log_prob(value)
    assert torch.isfinite(log_prob).all()
    if not entry.id.startswith(("Categorical", "IAF")):
        assert torch.isfinite(distribution.mean).all()
    drawn = distribution.rsample((20,)).sum() if distribution.has_rsample else 0.0
    (log_prob.sum() + drawn).backward()
    assert all(torch.isfinite(p.grad).all() for p in conditional.parameters())


@components(FAMILIES)
def test_in_plates_of_svi(entry):
    """As a likelihood in a plate, with two more particles' plate around it."""
    conditional, given = entry.build(), entry.given()
    x = conditional(given).sample()

    def model(x):
        pyro.module("likelihood", conditional)
        with pyro.plate("data", ROWS):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", conditional(z), obs=x)

    def guide(x):
        with pyro.plate("data", ROWS):
            pyro.sample("z", dist.Normal(given, 0.1).to_event(1))

    elbo = pyro.infer.Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    loss = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), elbo).step(x)
    assert math.isfinite(loss)


@components(FAMILIES)
@pytest.mark.parametrize(
    "wrong", [torch.zeros(4), np.zeros(4), nn.Linear, 3], ids=["tensor", "array", "class", "number"]
)
def test_something_else_where_a_network_belongs(entry, wrong):
    with pytest.raises(pv.ArgumentError, match="takes a network"):
        entry.make(wrong)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.DiagNormal(pv.MLP(3, [], 7)), r"2 \* 8 for an event of 8; it is \(7,\)"),
        (lambda: pv.DiagNormal(nn.Linear(3, 7))(torch.zeros(2, 3)), r"it is \(7,\)"),
        (lambda: pv.FullNormal(pv.MLP(3, [], 6)), "2 -> 5"),
        (lambda: pv.FullNormal(pv.MLP(3, [], (5, 1))), "takes a vector"),
        (lambda: pv.LowRankNormal(pv.MLP(3, [], 8), rank=1), "3 numbers per element"),
        (lambda: pv.LowRankNormal(pv.MLP(3, [], 8), rank=0), "rank=0"),
        (lambda: pv.LowRankNormal(pv.MLP(3, [], (3, 2)), rank=1)(torch.zeros(2, 3)), "for vectors"),
        (lambda: pv.Normal(pv.MLP(3, [], 4), scale=-1.0), "scale=-1.0"),
        (lambda: pv.Normal(pv.MLP(3, [], 4), scale=math.inf), "scale=inf"),
        (lambda: pv.Normal(pv.MLP(3, [], 4), scale=True), "scale=True"),
        (lambda: pv.Normal(pv.MLP(3, [], 4), scale=torch.ones(4)), "LearnedScale"),
        (lambda: pv.Normal(pv.MLP(3, [], 4), scale=pv.LearnedScale(5))(torch.zeros(2, 3)), "does not fit"),
        (lambda: pv.Normal(pv.MLP(3, [], 4), scale=pv.LearnedScale((2, 4)))(torch.zeros(2, 3)), "does not fit"),
        (lambda: pv.LearnedScale(initial=0.0), "initial=0.0"),
        (lambda: pv.StudentT(pv.MLP(3, [], 4), 1.0, df=None), "df=None"),
        (lambda: pv.Categorical(pv.MLP(3, [], 4), classes=0), "classes=0"),
        (lambda: pv.Categorical(pv.MLP(3, [], (4, 2)))(torch.zeros(2, 3)), "say how many classes"),
        (lambda: pv.Categorical(pv.MLP(3, [], 4), classes=3), "3 numbers per element"),
        (lambda: pv.DiscretizedLogistic(pv.MLP(3, [], 4), levels=1), "levels=1"),
        (lambda: pv.Bernoulli(nn.Flatten(0))(torch.zeros(2, 3)), r"the leading dims \(2,\) are lost"),
        (lambda: pv.Bernoulli(lambda x: (x, x))(torch.zeros(2, 3)), "gave tuple"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()


class Broken(pv.Conditional):
    """A normal that breaks one clause of the contract."""

    def __init__(self, clause):
        super().__init__()
        self.clause, self.network = clause, nn.Linear(3, 2)
        self.unused = nn.Parameter(torch.zeros(())) if clause == "gradient" else None

    def forward(self, z):
        loc = self.network(z)
        if self.clause == "distribution":
            return loc
        if self.clause == "batch shape":
            return dist.Normal(loc, 1.0)
        if self.clause == "rows":
            loc = loc * z.dim()
        if self.clause == "float64":
            return dist.Normal(loc.float(), 1.0).to_event(1)
        if self.clause in Lies.clauses:
            return Lies(loc, self.clause).to_event(1)
        return dist.Normal(loc, 1.0).to_event(1)


class Lies(dist.Normal):
    clauses = ("mean", "variance", "adds up", "support")

    def __init__(self, loc, clause):
        self.clause = clause
        super().__init__(loc, torch.ones_like(loc))

    def expand(self, shape, _instance=None):
        return Lies(self.loc.expand(shape), self.clause)

    support = property(lambda self: dist.constraints.positive if self.clause == "support" else dist.constraints.real)
    mean = property(lambda self: self.loc + (self.clause == "mean"))
    variance = property(lambda self: self.scale**2 * (1 + (self.clause == "variance")))

    def log_prob(self, value):
        return super().log_prob(value.abs() if self.clause == "support" else value) + 0.1 * (self.clause == "adds up")


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("distribution", "not a distribution"),
        ("batch shape", "batch shape"),
        ("rows", "extra leading dim"),
        ("gradient", "unused gets no gradient"),
        ("float64", "log-probabilities of torch.float32"),
        ("mean", "mean of draws"),
        ("variance", "variance of draws"),
        ("adds up", "adds up to"),
        ("support", "outside the support"),
    ],
)
def test_the_contract_finds_what_is_broken(clause, words):
    check_conditional(Broken("nothing"), torch.randn(4, 3))
    with pytest.raises(AssertionError, match=words):
        check_conditional(Broken(clause), torch.randn(4, 3))


def test_the_contract_leaves_mode_and_random_state_alone():
    conditional, state = pv.Bernoulli(pv.MLP(3, [], 2)), torch.get_rng_state()
    check_conditional(conditional.train(), torch.ones(4, 3))
    assert conditional.training
    assert torch.equal(state, torch.get_rng_state())


def test_conditional_is_abstract():
    with pytest.raises(TypeError, match="forward"):
        pv.Conditional()


def test_input_dims_of_a_plain_network():
    """A network that flattens images says how many event dims it eats."""
    network = nn.Sequential(nn.Flatten(-2), nn.Linear(6, 4))
    with pytest.raises(pv.ArgumentError, match="input_dims"):
        pv.Bernoulli(network)(torch.zeros(5, 2, 3))
    network.input_dims = 2
    assert pv.Bernoulli(network)(torch.zeros(5, 2, 3)).event_shape == (4,)


def test_two_inputs_that_broadcast():
    """The event dims are the network's, whichever input has more leading dims."""
    conditional = pv.DiagNormal(pv.MLP([3, 2], [8], 2 * 4))
    distribution = conditional(torch.zeros(5, 3), torch.zeros(7, 5, 2))
    assert (distribution.batch_shape, distribution.event_shape) == ((7, 5), (4,))


def test_bound():
    raw = torch.tensor([-1e6, -3.0, -0.01, 0.0, 0.01, 3.0, 1e6], requires_grad=True)
    value = bounded(raw, -10.0, 2.0)
    value.sum().backward()
    assert (value > -10).all()
    assert (value < 2).all()
    assert torch.allclose(value[2:5], raw[2:5], rtol=1e-3)
    assert raw.grad[3] == 1.0
    assert (raw.grad > 0).all()  # even a million out, the way back is felt


def test_full_normal_is_what_its_formula_says():
    conditional = pv.FullNormal(Constant(9, torch.tensor([1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 0.5, -0.4, 0.7])))
    distribution = conditional(torch.zeros(1, 3))
    sd = bounded(torch.tensor([0.1, 0.2, 0.3])).exp()
    assert torch.allclose(distribution.variance[0], sd**2, rtol=1e-5)
    u = torch.tensor([-0.4, 0.7])
    u = u / torch.sqrt(1 + u.square().sum() / 100)
    row = torch.cat([u, torch.ones(1)]) / torch.sqrt(1 + u.square().sum())
    assert torch.allclose(distribution.scale_tril[0, 2], sd[2] * row, rtol=1e-5)


def test_low_rank_normal_is_what_its_formula_says():
    conditional = pv.LowRankNormal(Constant(9, torch.arange(9.0) / 10), rank=1)
    distribution = conditional(torch.zeros(1, 3))
    sd, u = bounded(torch.tensor([0.3, 0.4, 0.5])).exp(), torch.tensor([[0.6], [0.7], [0.8]])
    u = u / torch.sqrt(1 + u.square() / 100)
    expected = torch.diag(sd) @ (torch.eye(3) + u @ u.T) @ torch.diag(sd)
    assert torch.allclose(distribution.covariance_matrix[0], expected, rtol=1e-4)
    assert torch.allclose(distribution.loc[0], torch.tensor([0.0, 0.1, 0.2]))


def test_parameters_are_cut_along_the_first_event_dim():
    """Channels first: the location is the first half of the channels of an image."""
    output = torch.arange(12.0).reshape(2, 2, 3) / 12
    base = pv.DiagNormal(Constant((2, 2, 3), output))(torch.zeros(1, 3)).base_dist
    assert torch.equal(base.loc[0], output[:1])
    assert torch.allclose(base.scale[0], bounded(output[1:]).exp())


def test_categorical_logits():
    output = torch.arange(6.0)
    several = pv.Categorical(Constant(6, output), classes=3)(torch.zeros(1, 3))
    logits = torch.tensor([[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]])
    expected = dist.Categorical(logits=logits).log_prob(torch.tensor([2, 0])).sum()
    assert torch.allclose(several.log_prob(torch.tensor([[2, 0]])), expected)
    assert several.mode.tolist() == [[2, 2]]


def test_negative_binomial_mean_and_variance():
    base = pv.NegativeBinomial(Constant(2, torch.tensor([1.0, 0.5])))(torch.zeros(1, 3)).base_dist
    mu, r = bounded(torch.tensor(1.0), -10, 15).exp(), bounded(torch.tensor(0.5)).exp()
    assert torch.allclose(base.mean, mu)
    assert torch.allclose(base.variance, mu + mu**2 / r)


def test_integers_and_booleans_are_observed():
    given = torch.zeros(2, 3)
    assert torch.isfinite(pv.Poisson(nn.Linear(3, 2))(given).log_prob(torch.tensor([[3, 0], [1, 9]]))).all()
    levels = torch.tensor([[0, 255], [1, 9]], dtype=torch.uint8)
    conditional = pv.DiscretizedLogistic(nn.Linear(3, 4))
    assert torch.equal(conditional(given).log_prob(levels), conditional(given).log_prob(levels.float()))
    same = pv.DiscretizedLogistic(conditional.network, highest=1.0)
    assert torch.allclose(same(given).log_prob(levels / 255), conditional(given).log_prob(levels.float()))


@pytest.mark.parametrize(
    ("conditional", "value"),
    [
        (pv.Bernoulli(nn.Linear(3, 1)), 0.5),
        (pv.Beta(nn.Linear(3, 2)), 0.0),
        (pv.Beta(nn.Linear(3, 2)), 1.0),
        (pv.ContinuousBernoulli(nn.Linear(3, 1)), 1.01),
        (pv.Poisson(nn.Linear(3, 1)), -1.0),
        (pv.NegativeBinomial(nn.Linear(3, 2)), 0.5),
        (pv.LogNormal(nn.Linear(3, 2)), 0.0),
        (pv.DiscretizedLogistic(nn.Linear(3, 2)), 256.0),
        (pv.DiscretizedLogistic(nn.Linear(3, 2), highest=1.0), 1.5),
    ],
)
def test_data_outside_the_support_are_refused(conditional, value):
    with pytest.raises(ValueError, match="support"):
        conditional(torch.zeros(1, 3)).log_prob(torch.full((1, 1), value))


@pytest.mark.parametrize("logit", [0.0, 1e-4, 0.19, 0.21, -0.19, 3.0, -30.0, 900.0])
def test_continuous_bernoulli_against_quadrature(logit):
    """Value, mean and variance agree with float64 sums on both sides of the switch to the series."""
    base = ContinuousBernoulliByLogits(torch.tensor(logit))
    exact = ContinuousBernoulliByLogits(torch.tensor(logit, dtype=torch.float64))
    x = torch.linspace(0, 1, 400_001, dtype=torch.float64)
    density = exact.log_prob(x).exp()
    mean = torch.trapezoid(density * x, x)
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-9 + 1e-12 * logit**2)
    assert exact.mean.item() == pytest.approx(mean.item(), abs=1e-6)
    assert exact.variance.item() == pytest.approx(torch.trapezoid(density * (x - mean) ** 2, x).item(), rel=1e-4)
    for name in ("mean", "variance"):
        assert getattr(base, name).item() == pytest.approx(getattr(exact, name).item(), rel=2e-4)
    assert base.log_prob(torch.tensor(0.3)).item() == pytest.approx(
        exact.log_prob(0.3 + x[0]).item(), rel=1e-4, abs=1e-5
    )


def test_continuous_bernoulli_gradient_of_a_draw():
    """d E[x] / d λ is the variance, and the reparameterised gradient has it."""
    for start in (0.0, 0.05, 0.5, -4.0):
        logit = torch.full((200_000,), start, dtype=torch.float64, requires_grad=True)
        ContinuousBernoulliByLogits(logit).rsample().sum().backward()
        expected = ContinuousBernoulliByLogits(torch.tensor(start, dtype=torch.float64)).variance.item()
        assert logit.grad.mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("scale", [0.125, 3.0, 500.0])
@pytest.mark.parametrize("loc", [-400.0, 0.0, 127.25, 255.0, 900.0])
def test_discretized_logistic(loc, scale):
    """The masses add up to one, to float32's last digits, and agree with differences in float64."""
    base = DiscretizedLogisticLevels(torch.tensor(loc), torch.tensor(scale), 256, 255.0)
    levels = torch.arange(256.0)
    mass = base.log_prob(levels).double().exp()
    assert mass.sum().item() == pytest.approx(1, abs=3e-6)
    edges = torch.sigmoid((torch.arange(255, dtype=torch.float64) + 0.5 - loc) / scale)
    expected = torch.diff(edges, prepend=torch.zeros(1), append=torch.ones(1))
    assert torch.allclose(mass, expected, atol=1e-6)
    assert base.mean.item() == pytest.approx((mass * levels).sum().item(), rel=1e-4, abs=1e-4)
    assert torch.isfinite(base.log_prob(levels)).all()


def test_discretized_logistic_in_the_far_tail():
    """40 scales out, where a difference of sigmoids is 0 in float32, the logarithm is exact."""
    base = DiscretizedLogisticLevels(torch.tensor([200.0, 55.0]), torch.tensor([1.0, 1.0]), 256, 255.0)
    expected = -94.5 + math.log(-math.expm1(-1.0))
    assert torch.allclose(base.log_prob(torch.tensor([105.0, 150.0])), torch.tensor(expected), atol=1e-3)


@pytest.mark.parametrize("scale", [0.5, 3.0, 40.0])
def test_slopes_of_the_discretized_logistic(scale):
    """Against log σ(a) + log σ(-b) + log(1 - exp(b - a)), differentiated in float64; at the ends and far out, too."""
    levels = torch.tensor([0, 1, 60, 100, 101, 140, 254, 255], dtype=torch.float64)
    given = [torch.full((8,), value, dtype=torch.float64, requires_grad=True) for value in (100.4, scale)]
    upper, lower = ((levels + shift - given[0]) / given[1] for shift in (0.5, -0.5))
    ends = [torch.where(levels == 255, 0.0, logsigmoid(upper)), torch.where(levels == 0, 0.0, logsigmoid(-lower))]
    inside = torch.where((levels > 0) & (levels < 255), torch.log(-torch.expm1(-1 / given[1])), 0.0)
    expected = torch.autograd.grad((sum(ends) + inside).sum(), given)
    single = [one.detach().float().requires_grad_() for one in given]
    found = torch.autograd.grad(DiscretizedLogisticLevels(*single, 256, 255.0).log_prob(levels.float()).sum(), single)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.double(), other, rtol=2e-5, atol=1e-6)


def test_discretized_logistic_speaks_in_half_ranges():
    """The network's 0 is mid-grey with a scale of half the range; a fixed scale is in levels."""
    given = torch.zeros(1, 3)
    base = pv.DiscretizedLogistic(Constant(2, torch.tensor([0.5, 0.1])))(given).base_dist
    assert base.loc.item() == pytest.approx(127.5 * 1.5)
    assert base.scale.item() == pytest.approx(127.5 * math.exp(0.1), rel=1e-3)
    assert pv.DiscretizedLogistic(Constant(1, 0.0), 3.0)(given).base_dist.scale.item() == 3.0


def test_beta_draws_are_never_rounded_to_the_ends():
    conditional = pv.Beta(Constant(2, torch.tensor([9.0, -9.0])))
    draws = conditional(torch.zeros(1, 3)).sample((10_000,))
    assert draws.max() < 1
    flipped = pv.Beta(Constant(2, torch.tensor([-9.0, 9.0])))(torch.zeros(1, 3)).sample((10_000,))
    assert flipped.min() > 0
