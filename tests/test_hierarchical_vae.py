"""Levels of latents: exact evidence of a linear-Gaussian chain, every order of the guide, words."""

from __future__ import annotations

import copy

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv

DATA, SIZE, NOISE, SPREAD = 6, 3, 1.0, 0.8


def orthogonal(rows: int, columns: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(rows, columns))[0]


def affine(weight: torch.Tensor, noise: float) -> pv.Normal:
    net = pv.MLP(weight.shape[1], [], weight.shape[0])
    with torch.no_grad():
        net.layers[0].weight.copy_(weight)
        net.layers[0].bias.zero_()
    return pv.Normal(net, scale=noise)


def chain(depth: int, posterior) -> tuple[pv.HierarchicalVAE, dist.MultivariateNormal]:
    """A chain of orthogonal maps, so that every posterior in it is diagonal; and its exact evidence."""
    torch.manual_seed(0)
    weights = [orthogonal(DATA, SIZE), *(orthogonal(SIZE, SIZE) for _ in range(depth - 1))]
    levels = [affine(weight, SPREAD) for weight in weights[1:]]
    vae = pv.HierarchicalVAE(pv.StandardNormal(SIZE), levels, affine(weights[0], NOISE), posterior)
    for part in (vae.levels, vae.likelihood):
        part.requires_grad_(False)
    covariance = torch.eye(SIZE)
    for weight, noise in zip(reversed(weights), [SPREAD] * len(levels) + [NOISE], strict=True):
        covariance = weight @ covariance @ weight.T + noise**2 * torch.eye(len(weight))
    return vae, dist.MultivariateNormal(torch.zeros(DATA), covariance)


def normal(inputs, size: int) -> pv.DiagNormal:
    return pv.DiagNormal(pv.MLP(inputs, [], 2 * size))


def even(inputs: int) -> pv.Normal:
    """A normal whose scales depend on nothing, as those of exact posteriors here."""
    return pv.Normal(pv.MLP(inputs, [], SIZE), scale=pv.LearnedScale(SIZE))


def straight_ladder(depth: int) -> pv.Ladder:
    return pv.Ladder([pv.MLP(DATA, [], DATA) for _ in range(depth)], [normal(DATA, SIZE) for _ in range(depth)])


ORDERS = {
    "bottom-up of 3": lambda: (3, pv.BottomUp([even(DATA), even(SIZE), even(SIZE)])),
    "top-down of 2": lambda: (2, pv.TopDown([normal([DATA, SIZE], SIZE), normal(DATA, SIZE)])),
    "ladder of 2": lambda: (2, straight_ladder(2)),
    "ladder of 3": lambda: (3, straight_ladder(3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bottom-up of 3", "top-down of 2", "ladder of 3"])
def test_the_guide_reaches_the_exact_evidence(name):
    vae, evidence = chain(*ORDERS[name]())
    x = evidence.sample((1000,))
    rate = pv.cosine(0.1, 0.0, steps=600)
    pv.fit(vae, x, steps=600, batch_size=100, learning_rate=rate, seed=0, progress=False)
    exact = float(evidence.log_prob(x).mean())
    gap = exact - float(pv.elbo(vae, x, draws=20, seed=0).value.mean())
    assert -0.01 < gap < 0.03
    assert float(pv.log_evidence(vae, x, draws=200, seed=0).value.mean()) == pytest.approx(exact, abs=0.02)


def test_a_ladder_is_the_product_of_what_is_seen_and_what_is_told():
    vae, _ = chain(*ORDERS["ladder of 2"]())
    x, found = torch.randn(5, DATA), {}

    def draw(level, fn):
        found[level] = fn
        return fn.mean

    vae.posterior(x, draw, vae.above)
    ladder = vae.posterior
    seen = ladder.parts[0](ladder.encoders[0](x))
    told = vae.levels[0](found[2].mean)
    z = torch.randn(5, SIZE)
    difference = found[1].base_dist.log_prob(z) - seen.base_dist.log_prob(z) - told.base_dist.log_prob(z)
    other = torch.randn(5, SIZE)
    same = found[1].base_dist.log_prob(other) - seen.base_dist.log_prob(other) - told.base_dist.log_prob(other)
    assert torch.allclose(difference, same, atol=1e-4)  # a constant in z


@pytest.mark.parametrize("make", [ORDERS["top-down of 2"], ORDERS["ladder of 3"]])
def test_pseudo_inputs_at_the_top(make):
    torch.manual_seed(0)
    depth, posterior = make()
    levels = [normal(SIZE, SIZE) for _ in range(depth - 1)]
    prior = pv.VampPrior(torch.randn(7, DATA), posterior.top)
    vae = pv.HierarchicalVAE(prior, levels, pv.Normal(pv.MLP(SIZE, [], DATA), scale=1.0), posterior)
    z, u = torch.randn(4, SIZE), vae.prior.pseudo_inputs
    expected = posterior.top(u).log_prob(z.unsqueeze(1)).exp().mean(-1).log()
    assert torch.allclose(prior().log_prob(z), expected, atol=1e-5)
    other = copy.deepcopy(vae)
    assert other.prior.posterior is not vae.prior.posterior
    assert {id(p) for p in other.prior.posterior.parameters()} <= {id(p) for p in other.posterior.parameters()}
    run = pv.fit(vae, torch.randn(64, DATA), epochs=3, batch_size=16, seed=0, progress=False)
    assert torch.isfinite(torch.tensor(run.history[-1].loss))
    drawn = pv.generate(vae, 3, seed=0)
    assert {name: tuple(value.shape) for name, value in drawn.items()} == {
        "x": (3, DATA),
        **{f"z_{level}": (3, SIZE) for level in range(1, depth + 1)},
    }


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g: pv.HierarchicalVAE(pv.StandardNormal(2), [normal(2, 4)], normal(4, 6), normal(6, 4)), "which order"),
        (lambda g: pv.HierarchicalVAE(pv.StandardNormal(2), [], normal(4, 6), g), "one conditional at least"),
        (lambda g: pv.HierarchicalVAE(pv.StandardNormal(2), normal(2, 4), normal(4, 6), g), "one conditional at least"),
        (lambda g: pv.HierarchicalVAE(pv.StandardNormal(2), [normal(2, 4)] * 2, normal(4, 6), g), "a posterior of 2"),
        (lambda g: pv.BottomUp(normal(6, 4)), "takes lists of modules"),
        (lambda g: pv.BottomUp([normal(6, 4), 3]), "takes lists of modules"),
        (lambda g: pv.Ladder([pv.MLP(6, [], 6)], [normal(6, 4), normal(6, 2)]), "one of each a level"),
    ],
)
def test_errors_in_words(make, words):
    with pytest.raises(pv.ArgumentError, match=words):
        make(pv.BottomUp([normal(6, 4), normal(4, 2)]))


def test_shapes_that_do_not_meet_are_said():
    x = torch.randn(5, 6)
    odd = pv.HierarchicalVAE(
        pv.StandardNormal(3), [normal(3, 4)], normal(4, 6), pv.BottomUp([normal(6, 4), normal(4, 2)])
    )
    with pytest.raises(pv.ArgumentError, match="the posterior gives z_2"):
        pv.elbo(odd, x, draws=1)
    heads = [pv.FullNormal(pv.MLP(6, [], 14)), normal(6, 3)]
    ladder = pv.Ladder([nn.Identity(), nn.Identity()], heads)
    full_head = pv.HierarchicalVAE(pv.StandardNormal(3), [normal(3, 4)], normal(4, 6), ladder)
    with pytest.raises(pv.ArgumentError, match=r"pv\.DiagNormal on both sides"):
        full_head.guide(x)


@pytest.mark.parametrize("dense", [False, True], ids=["chain", "dense"])
def test_new_data_are_drawn_by_their_number_where_levels_differ_in_size(dense):
    vae = pv.HierarchicalVAE(
        prior=pv.StandardNormal(2),
        levels=[pv.DiagNormal(pv.MLP(2, [8], 2 * 4))],
        likelihood=pv.Bernoulli(pv.MLP([4, 2] if dense else 4, [8], 9)),
        posterior=pv.TopDown([pv.DiagNormal(pv.MLP([9, 2], [8], 2 * 4)), pv.DiagNormal(pv.MLP(9, [8], 2 * 2))]),
        dense=dense,
    )
    drawn = pv.generate(vae, 7, seed=0)
    assert {site: value.shape for site, value in drawn.items()} == {"z_1": (7, 4), "z_2": (7, 2), "x": (7, 9)}
