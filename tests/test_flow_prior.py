"""Flows as priors: densities, what transforms remember, truth, and what no flow can be."""

from __future__ import annotations

import copy
import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import nn
from torch.distributions import Distribution

import pyrovae as pv
from pyrovae.checks.testing import check_conditional

SWAP = torch.tensor([1, 0])
ONE = {
    "spline": lambda: pv.FlowPrior.spline(1),
    "affine": lambda: pv.FlowPrior([transforms.AffineTransform(torch.ones(1), torch.full((1,), 2.0))], 1),
}
TWO = {
    "coupling": lambda: pv.FlowPrior.coupling(2, layers=3, hidden=[8]),
    "autoregressive": lambda: pv.FlowPrior.autoregressive(2, layers=2, hidden=[8]),
    "spline": lambda: pv.FlowPrior.spline(2, layers=2, hidden=[8]),
    "of Pyro": lambda: pv.FlowPrior(
        [
            transforms.affine_autoregressive(2, [8]),
            transforms.Permute(SWAP),
            transforms.Spline(2, 3, order="quadratic"),
        ],
        2,
    ),
    "inverses": lambda: pv.FlowPrior(
        transforms.ComposeTransform([transforms.affine_coupling(2, [8]), transforms.Permute(SWAP)]).inv, 2
    ),
    "another base": lambda: pv.FlowPrior([transforms.affine_coupling(2, [8])], pv.LearnedNormal(2)),
}
EVERY = {f"{size}-{name}": make for size, makes in ((1, ONE), (2, TWO)) for name, make in makes.items()}
each = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


def bent(make) -> pv.FlowPrior:
    """A flow away from its start, where it would be near the standard normal."""
    torch.manual_seed(0)
    prior = make()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return prior


def grid(size: int) -> tuple[torch.Tensor, float]:
    step = 0.02 if size == 1 else 0.04
    axis = torch.arange(-12.0, 12.0, step)
    return torch.cartesian_prod(*[axis] * size).reshape(-1, size), step**size


@each
def test_its_density_integrates_to_one(make):
    prior = bent(make)
    points, cell = grid(*prior().event_shape)
    with torch.no_grad():
        assert prior().log_prob(points).double().exp().sum() * cell == pytest.approx(1, abs=5e-3)


@each
def test_draws_have_the_density_that_their_values_have(make):
    prior = bent(make)
    fn = prior()
    z = fn.rsample(torch.Size([200]))
    assert torch.allclose(fn.log_prob(z), prior().log_prob(z.detach().clone()), atol=1e-3)


@each
def test_draws_have_the_moments_of_the_density(make):
    prior = bent(make)
    points, cell = grid(*prior().event_shape)
    with torch.no_grad():
        weight = prior().log_prob(points).exp() * cell
        draws = prior().sample(torch.Size([20_000]))
    mean = (weight.unsqueeze(-1) * points).sum(0)
    assert torch.allclose(draws.mean(0), mean, atol=6 * float(draws.std(0).max()) / math.sqrt(20_000) + 0.02)


@each
def test_nothing_is_remembered_of_other_weights(make):
    """The same tensor scored before and after a step; and drawn without gradients, scored with them."""
    prior = bent(make)
    with torch.no_grad():
        value = prior().sample()
    loss = -prior().log_prob(value)
    loss.backward() if loss.requires_grad else None
    with torch.no_grad():
        for parameter in prior.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.1 * parameter.grad.clamp(-1, 1))
    assert torch.equal(prior().log_prob(value), prior().log_prob(value.clone()))
    fn = prior()
    drawn = fn.sample()
    assert fn.log_prob(drawn).requires_grad == any(True for _ in prior.parameters())


def test_a_copy_after_training_is_whole_and_its_own():
    prior = bent(TWO["coupling"])
    value = torch.randn(5, 2)
    prior().log_prob(value).sum().backward()  # leaves a graph in what transforms remember
    other = copy.deepcopy(prior)
    assert torch.equal(other().log_prob(value), prior().log_prob(value))
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    assert not torch.equal(other().log_prob(value), prior().log_prob(value))


def test_constants_of_transforms_are_moved_and_saved(tmp_path):
    def made(order):
        torch.manual_seed(0)
        steps = [transforms.affine_coupling(4, [8]), transforms.Permute(torch.tensor(order))]
        prior = pv.FlowPrior([*steps, transforms.AffineTransform(torch.tensor(order) * 1.0, 2.0)], 4)
        return pv.VAE(prior, pv.Normal(pv.MLP(4, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 8)))

    vae, other, z = made([3, 0, 1, 2]), made([0, 1, 2, 3]), torch.randn(6, 4)
    assert not torch.allclose(vae.prior().log_prob(z), other.prior().log_prob(z))
    pv.save(vae, tmp_path / "flow.safetensors")
    pv.load(other, tmp_path / "flow.safetensors")
    assert torch.equal(vae.prior().log_prob(z), other.prior().log_prob(z))
    assert {name for name, _ in vae.prior.named_buffers()} == {"flow.1.permutation", "flow.2.loc", "base.zero"}
    tensors = [*vae.to("meta").state_dict().values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_builder_runs_where_tensors_hold_no_numbers():
    """As the command line does it, to see what a file should hold."""
    with torch.device("meta"):
        built = [pv.FlowPrior.coupling(2), pv.FlowPrior.autoregressive(3), pv.FlowPrior.spline(2)]
        built += [pv.FlowPrior.spline(1), pv.IAF(pv.MLP(5, [8], 2 * 2 + 16), 2)]
    assert {tensor.device.type for part in built for tensor in part.state_dict().values()} == {"meta"}


# --- truth ------------------------------------------------------------------------------------------------
def moons(count: int) -> torch.Tensor:
    angle = math.pi * torch.rand(count)
    side = (torch.rand(count) < 0.5).float()
    arcs = torch.stack([angle.cos() + side - 0.5, (1 - 2 * side) * angle.sin() + 0.5 * side - 0.25], -1)
    return 2 * arcs + 0.2 * torch.randn(count, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "steps", "gain"),
    [
        (lambda: pv.FlowPrior.coupling(2, layers=6, hidden=[32]), 500, 0.25),
        (lambda: pv.FlowPrior.spline(2, layers=2, hidden=[32]), 250, 0.4),
    ],
    ids=["coupling", "spline"],
)
def test_it_fits_two_moons_where_a_normal_does_not(make, steps, gain):
    torch.manual_seed(0)
    train, test, prior = moons(2000), moons(2000), make()
    optim = torch.optim.Adam(prior.parameters(), 4e-3)
    for _ in range(steps):
        optim.zero_grad()
        loss = -prior().log_prob(train[torch.randint(2000, (256,))]).mean()
        loss.backward()
        optim.step()
    normal = dist.MultivariateNormal(train.mean(0), torch.cov(train.T)).log_prob(test).mean()
    with torch.no_grad():
        reached, drawn = prior().log_prob(test).mean(), prior().sample(torch.Size([2000]))
    assert reached > normal + gain
    assert torch.cdist(drawn, test).min(-1).values.median() < 0.1


def test_the_evidence_is_that_of_quadrature():
    torch.manual_seed(0)
    prior = bent(ONE["spline"])
    vae = pv.VAE(prior, pv.Normal(pv.MLP(1, [8], 3), scale=0.7), pv.DiagNormal(pv.MLP(3, [8], 2)))
    x = torch.randn(6, 3)
    axis = torch.arange(-10, 10, 0.005).unsqueeze(-1)
    with torch.no_grad():
        joint = prior().log_prob(axis).unsqueeze(-1) + vae.likelihood(axis).log_prob(x.unsqueeze(1)).T
        exact = joint.double().logsumexp(0) + math.log(0.005)
    found = pv.log_evidence(vae, x, draws=20_000, seed=0)
    assert torch.allclose(found.value.double(), exact, atol=float(5 * found.error.max()) + 2e-3)


# --- flows of zuko ----------------------------------------------------------------------------------------
@pytest.fixture
def zuko():
    # zuko switches the validation of distributions off when it is imported, for the whole process.
    before = Distribution.__dict__["_validate_args"], Distribution.__dict__["arg_constraints"]
    found = pytest.importorskip("zuko", reason="zuko is not installed")
    Distribution._validate_args, Distribution.arg_constraints = False, {}
    yield found
    Distribution._validate_args, Distribution.arg_constraints = before


@pytest.mark.parametrize("name", [pytest.param("NSF", marks=pytest.mark.slow), "MAF", "NICE"])
def test_a_flow_of_zuko_as_it_is(zuko, name, tmp_path):
    torch.manual_seed(0)
    prior = pv.FlowPrior(getattr(zuko.flows, name)(features=2, transforms=2, hidden_features=[8]))
    check_conditional(prior)
    points, cell = grid(2)
    with torch.no_grad():
        assert prior().log_prob(points).exp().sum() * cell == pytest.approx(1, abs=5e-3)
    vae = pv.VAE(prior, pv.Normal(pv.MLP(2, [8], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [8], 4)))
    x = torch.randn(32, 5)
    run = pv.fit(vae, x, epochs=3, batch_size=8, seed=0, progress=False)
    assert math.isfinite(run.history[-1].loss)
    assert pv.generate(vae, 4, seed=0)["x"].shape == (4, 5)
    assert pv.log_evidence(vae, x, draws=8, seed=0).value.isfinite().all()
    pv.save(vae, tmp_path / "zuko.safetensors")
    pv.load(vae, tmp_path / "zuko.safetensors")


def test_a_flow_of_zuko_has_its_own_base(zuko):
    with pytest.raises(pv.ArgumentError, match="leave out base="):
        pv.FlowPrior(zuko.flows.NICE(features=2), 2)


# --- what cannot be ---------------------------------------------------------------------------------------
class Lopsided(transforms.AffineTransform):
    def _inverse(self, y):
        return y


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.FlowPrior.coupling(1), "one dim has no other"),
        (lambda: pv.FlowPrior.autoregressive(1), "take 2 at least"),
        (lambda: pv.FlowPrior.coupling((2, 3)), "for vectors"),
        (lambda: pv.FlowPrior.coupling(4, layers=0), "layers=0"),
        (lambda: pv.FlowPrior.coupling(4, hidden=[]), "the width of one layer"),
        (lambda: pv.FlowPrior.spline(4, hidden=[0]), "hidden=0"),
        (lambda: pv.FlowPrior([transforms.affine_coupling(5)], 4), "sizes must be those of its base"),
        (lambda: pv.FlowPrior([transforms.affine_coupling(4)]), "need the distribution that they start from"),
        (lambda: pv.FlowPrior([transforms.planar(4)], 4), "needs both directions"),
        (lambda: pv.FlowPrior([Lopsided(1.0, 2.0)], 4), "inverse is not its inverse"),
        (lambda: pv.FlowPrior([nn.Linear(2, 2)], 2), "Linear"),
        (lambda: pv.FlowPrior(4, 4), "takes transforms"),
        (lambda: pv.FlowPrior(torch.zeros(3), 4), "takes transforms"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make()
