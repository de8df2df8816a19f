"""The contracts as functions, for tests of components and pairs of one's own."""

from __future__ import annotations

import copy
import math
from typing import Any

import pyro
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import biject_to

from pyrovae.checks.check_pair import check_pair

__all__ = ["check_conditional", "check_pair"]


def check_conditional(
    conditional: nn.Module, *given: Tensor, event_dims: int = 1, draws: int = 4000, seed: int = 0
) -> None:
    r"""Assert that a module keeps the contract of a `pyrovae.Conditional`.

    It returns a Pyro distribution whose batch shape is the leading dims of `given`; an extra leading dim means the
    same row by row; `pyro.sample` takes it in a plate; draws lie in the support and have finite log-probabilities;
    `expand` changes the shape only; where the mean and the variance are known, the draws have them, within six
    standard errors; where elements are independent and of one family, the density of each adds up to one,

    \[ \sum_x p(x) = 1 \quad\text{or}\quad \int p(x)\, dx = 1; \]

    every parameter gets a finite gradient that is not zero; float64 stays float64; a deep copy is equal and
    independent; a state dict carries all there is.

    Args:
        conditional: The module.
        given: Its arguments, each `(rows, *event)`; none for a prior.
        event_dims: Event dims of the first argument.
        draws: Draws for the moments.
        seed: Of those draws; the caller's random state is left alone.

    Raises:
        AssertionError: Says which clause fails.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pv.testing.check_conditional(pv.Bernoulli(pv.MLP(2, [8], 3)), torch.randn(4, 2))
    """
    leading = given[0].shape[: given[0].dim() - event_dims] if given else torch.Size()
    mode = conditional.training
    conditional.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _check_shapes(conditional, given, leading)
            _check_draws(conditional(*given), draws)
            _check_mass(conditional(*given))
            _check_gradients(conditional, given)
            _check_double(conditional, given)
            _check_copies(conditional, given)
    finally:
        conditional.train(mode)


def _check_shapes(conditional: nn.Module, given: tuple[Tensor, ...], leading: torch.Size) -> None:
    distribution: Any = conditional(*given)
    assert isinstance(distribution, TorchDistributionMixin), (
        f"forward gave {type(distribution).__name__}, not a distribution"
    )
    assert distribution.batch_shape == leading, f"batch shape {distribution.batch_shape} is not {leading}"
    value = distribution.sample()
    assert value.shape == leading + distribution.event_shape, f"a draw has shape {value.shape}"
    expected = distribution.log_prob(value)
    assert expected.shape == leading, f"log_prob has shape {expected.shape}, not {leading}"
    if given:
        wider = conditional(*(x.expand(3, 2, *x.shape) for x in given))
        assert wider.batch_shape == (3, 2, *leading), f"two more leading dims give batch shape {wider.batch_shape}"
        assert _close(wider.log_prob(value)[1, 1], expected), "an extra leading dim changes the values"
    expanded = distribution.expand((3, *leading))
    assert expanded.batch_shape == (3, *leading), f"expand gives batch shape {expanded.batch_shape}"
    assert expanded.sample().shape == (3, *value.shape), "draws of the expanded distribution have another shape"
    assert _close(expanded.log_prob(value)[1], expected), "expand changes the values"
    with pyro.plate("draws", 3, dim=-len(leading) - 1):
        assert pyro.sample("value", distribution).shape == (3, *value.shape), "pyro.sample in a plate: another shape"


def _check_draws(distribution: Any, draws: int) -> None:
    values = distribution.sample((draws,))
    within = distribution.support.check(values)
    assert bool(within.all()), "a draw lies outside the support"
    assert bool(torch.isfinite(distribution.log_prob(values)).all()), "the log-probability of a draw is not finite"
    values = values.double()
    mean, variance = (_moment(distribution, name) for name in ("mean", "variance"))
    if mean is not None and variance is not None:
        error = 6 * (variance / draws).sqrt() + 1e-4 * (mean.abs() + variance.sqrt()) + 1e-30
        assert bool(((values.mean(0) - mean).abs() <= error).all()), "the mean of draws is not .mean"
        # The standard error of a variance from the fourth moment that the draws themselves have.
        square = (values - mean) ** 2
        error = 6 * square.std(0) / math.sqrt(draws) + 1e-3 * variance + 1e-30
        assert bool(((square.mean(0) - variance).abs() <= error).all()), "the variance of draws is not .variance"


def _moment(distribution: Any, name: str) -> Tensor | None:
    """The mean or variance, or None where there is none."""
    try:
        value = getattr(distribution, name)
    except NotImplementedError:
        return None
    return value.detach().double() if bool(torch.isfinite(value).all()) else None


def _check_mass(distribution: Any) -> None:
    """The density of each element adds up to one, where elements are independent numbers."""
    base = getattr(distribution, "base_dist", distribution)
    if base.event_shape or (base is distribution and distribution.event_shape):
        return
    if not _is_discrete(base) and not _is_mapped(base.support):
        return  # families side by side, each with a support of its own
    mass = _sum_of(base) if _is_discrete(base) else _integral_of(base)
    assert bool(((mass - 1).abs() < 2e-3).all()), f"the density adds up to {mass.flatten()[:3].tolist()}, not 1"


def _is_discrete(base: Any) -> bool:
    return base.support.is_discrete or hasattr(base, "levels")


def _is_mapped(support: Any) -> bool:
    try:
        biject_to(support)
    except NotImplementedError:  # what torch says of a support that it knows no way to
        return False
    return True


def _sum_of(base: Any) -> Tensor:
    if base.has_enumerate_support:
        values = base.enumerate_support(expand=False)
    else:
        values = torch.arange(getattr(base, "levels", 0) or int(base.sample((1000,)).max()) * 3 + 100)
        if hasattr(base, "highest"):
            values = values * base.highest / (base.levels - 1)
        values = values.reshape(-1, *[1] * len(base.batch_shape)).to(base.mean.dtype)
    return base.log_prob(values.expand(len(values), *base.batch_shape)).double().exp().sum(0)


def _integral_of(base: Any) -> Tensor:
    r"""The integral over x = T(m + s sinh t), T from the reals to the support: wide tails, fine middle."""
    transform = biject_to(base.support)
    inner = transform.inv(base.sample((2001,))).double()
    middle, spread = inner.median(0).values, inner.std(0) + 1e-9
    t = torch.linspace(-12, 12, 20001, dtype=torch.float64).reshape(-1, *[1] * len(base.batch_shape))
    points = (middle + spread * torch.sinh(t)).to(base.sample().dtype)
    values = transform(points)
    ends = base.support.check(values)
    values = torch.where(ends, values, base.sample())
    log_density = base.log_prob(values) + transform.log_abs_det_jacobian(points, values)
    log_density = log_density.double() + torch.log(spread * torch.cosh(t))
    return torch.trapezoid(torch.where(ends, log_density, -math.inf).exp(), t.squeeze(), dim=0)


def _check_gradients(conditional: nn.Module, given: tuple[Tensor, ...]) -> None:
    conditional.zero_grad()
    distribution = conditional(*given)
    score = distribution.log_prob(distribution.sample()).sum()
    if score.requires_grad:
        score.backward()
    for name, parameter in conditional.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"
        assert bool(parameter.grad.any()), f"the gradient of {name} is zero everywhere"
    conditional.zero_grad()


def _check_double(conditional: nn.Module, given: tuple[Tensor, ...]) -> None:
    double = copy.deepcopy(conditional).double()
    distribution = double(*(x.double() if x.is_floating_point() else x for x in given))
    value = distribution.sample()
    log_prob = distribution.log_prob(value)
    assert log_prob.dtype == torch.float64, f"float64 parameters give log-probabilities of {log_prob.dtype}"
    assert not value.is_floating_point() or value.dtype == torch.float64, f"float64 parameters draw {value.dtype}"
    single = conditional(*given).log_prob(value.float() if value.is_floating_point() else value)
    assert torch.allclose(single.double(), log_prob, rtol=1e-3, atol=1e-2), "float32 and float64 disagree"


def _check_copies(conditional: nn.Module, given: tuple[Tensor, ...]) -> None:
    value = conditional(*given).sample()
    expected = conditional(*given).log_prob(value).detach()
    other = copy.deepcopy(conditional)
    assert torch.equal(other(*given).log_prob(value), expected), "a deep copy has other values"
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert torch.equal(conditional(*given).log_prob(value), expected), "a deep copy shares parameters"
    other.load_state_dict(conditional.state_dict())
    assert torch.equal(other(*given).log_prob(value), expected), "the state dict does not carry all there is"


def _close(actual: Tensor, expected: Tensor) -> bool:
    return torch.allclose(actual, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.detach().abs().max())))
