"""exp, log and what is made of them, to the same bit on every machine: sums, products, quotients and tables alone.

A sum, a product, a quotient and a square root in double precision are rounded correctly by every processor. The
functions of a mathematical library are not: they differ from one to the next, and within one by how many numbers it
takes at once. torch's square root is such a function (on some processors it is a last digit off for one number in a
hundred), numpy's is the processor's own.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # the first has so few digits that k times it is exact
_STEPS = 64  # of the table of powers of 2
_HALF_LOG_TAU = 0.9189385332046727


class Tails(NamedTuple):
    """A distribution function from both ends, each exact where it is small.

    Attributes:
        below: the mass below a point.
        above: that above it.
    """

    below: Tensor
    above: Tensor


def sqrt(x: Tensor) -> Tensor:
    """The square root in double precision."""
    with np.errstate(invalid="ignore"):  # of a negative number NaN, without a word, as torch has it
        return torch.from_numpy(
            np.sqrt(x.detach().double().numpy(), out=np.empty(x.shape))
        )  # out: else a single one is no array


# --- exp and log ----------------------------------------------------------------------------------------
def _power_of_two(whole: Tensor) -> Tensor:
    """2^k, written as the bits of the number."""
    return ((whole + 1023) << 52).view(torch.float64)


@cache
def _roots() -> Tensor:
    """2^(j / 64): square roots, which are rounded correctly, multiplied."""
    roots = [torch.ones((), dtype=torch.float64)]
    factors, root = [], torch.tensor(2.0, dtype=torch.float64)
    for _ in range(6):
        root = sqrt(root)
        factors.append(root)
    for j in range(1, _STEPS):
        value = torch.ones((), dtype=torch.float64)
        for bit, factor in enumerate(factors):
            value = value * factor if j >> (5 - bit) & 1 else value
        roots.append(value)
    return torch.stack(roots)


def exp(x: Tensor) -> Tensor:
    """e^x in double precision."""
    x = x.double()
    held = x.clamp(-708.0, 709.0)
    steps = torch.round(held * (_STEPS / 0.6931471805599453))
    rest = (held - steps * (_LN2_HIGH / _STEPS)).sub_(steps * (_LN2_LOW / _STEPS))
    series = rest * (1 / 720)
    for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0):
        series.add_(coefficient).mul_(rest)
    whole = steps.long()  # of NaN anything: what it is multiplied with is NaN
    root = _roots()[whole & (_STEPS - 1)]
    found = series.mul_(root).add_(root).mul_(_power_of_two((whole >> 6).clamp_(-1022, 1023)))
    if bool((x > 709.0).any()):
        found = torch.where(x > 709.0, torch.inf, found)
    return found.masked_fill_(x < -708.0, 0.0)


def log(x: Tensor) -> Tensor:
    """The natural logarithm in double precision."""
    x = x.double()
    mantissa, exponent = torch.frexp(torch.where((x > 0) & x.isfinite(), x, 1.0))
    low = mantissa < 0.7071067811865476
    mantissa = torch.where(low, mantissa * 2, mantissa)
    whole = exponent.double() - low.double()
    found = whole * _LN2_HIGH + (_log_ratio(mantissa - 1, mantissa + 1) + whole * _LN2_LOW)
    found = torch.where(x == 0, -torch.inf, torch.where(x == torch.inf, x, found))
    return torch.where((x < 0) | x.isnan(), torch.nan, found)


def _log_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """log((1 + s) / (1 - s)) with s the quotient, at most 0.18 in size."""
    s = numerator / denominator
    square = s * s
    series = torch.full_like(s, 1 / 21)
    for odd in range(19, 0, -2):
        series = series * square + 1 / odd
    return 2 * s * series


def expm1(x: Tensor) -> Tensor:
    """e^x - 1, exact near 0."""
    x = x.double()
    series = torch.full_like(x, 1.0)
    for n in range(12, 1, -1):
        series = 1 + x / n * series
    return torch.where(x.abs() < 0.35, x * series, exp(x) - 1)


def log1p(x: Tensor) -> Tensor:
    """log(1 + x), exact near 0."""
    x = x.double()
    near = x.abs() < 0.25
    held = torch.where(near, x, 0.0)
    return torch.where(near, _log_ratio(held, 2 + held), log(1 + x))


# --- what networks and distributions are made of ------------------------------------------------------------
def logistic_tails(x: Tensor) -> Tails:
    """σ(x) and σ(-x)."""
    small = exp(-x.double().abs())
    tail, rest = small / (1 + small), 1 / (1 + small)
    return Tails(torch.where(x < 0, tail, rest), torch.where(x < 0, rest, tail))


def sigmoid(x: Tensor) -> Tensor:
    """σ(x)."""
    return logistic_tails(x).below


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)."""
    x = x.double()
    return x.clamp(min=0) + log1p(exp(-x.abs()))


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    x = x.double()
    grown = expm1(-2 * x.abs())
    return torch.where(x < 0, grown, -grown) / (2 + grown)


def atan(x: Tensor) -> Tensor:
    """The arc of a tangent: atan(x) = 2 atan(x / (1 + sqrt(1 + x^2))), thrice, and a series."""
    x = x.double()
    held = x.clamp(-1e150, 1e150)
    for _ in range(3):
        held = held / (1 + sqrt(1 + held * held))
    square = held * held
    series = torch.full_like(held, 1 / 25)
    for odd in range(23, 0, -2):
        series = 1 / odd - series * square
    return 8 * held * series


_MILLS_STEPS, _MILLS_END = 64, 40  # of the table below


@cache
def _mills() -> Tensor:
    """Tail over density of a standard normal at 0, 1/64, 2/64, ..., 40."""
    t = torch.arange(_MILLS_END * _MILLS_STEPS + 2, dtype=torch.float64) / _MILLS_STEPS
    fraction = t.clone()
    for n in range(300, 0, -1):
        fraction = t + n / torch.where(fraction == 0, 1.0, fraction)
    near = t.clamp(max=2.5)
    term, series = near, near
    for n in range(1, 60):
        term = term * near * near / (2 * n + 1)
        series = series + term
    from_series = 0.5 * exp(near * near / 2 + _HALF_LOG_TAU) - series
    return torch.where(t <= 2.5, from_series, 1 / fraction)


def normal_tails(x: Tensor) -> Tails:
    """Φ(x) and Φ(-x): the density times a table of their quotient, whose slope is known."""
    x = x.double()
    t = x.abs().clamp(max=float(_MILLS_END)).nan_to_num()
    place = (t * _MILLS_STEPS).long()
    u = t * _MILLS_STEPS - place
    left, right, start = _mills()[place], _mills()[place + 1], place.double() / _MILLS_STEPS
    # R' = t R - 1 at both ends: a cubic through values and slopes.
    left_slope = (start * left).sub_(1).div_(_MILLS_STEPS)
    right_slope = (start + 1 / _MILLS_STEPS).mul_(right).sub_(1).div_(_MILLS_STEPS)
    step = right - left
    curve = (left_slope + right_slope).sub_(step * 2).mul_(u)
    curve.add_(step * 3).sub_(left_slope * 2).sub_(right_slope).mul_(u)
    ratio = curve.add_(left_slope).mul_(u).add_(left)
    tail = ratio.mul_(exp((t * t).div_(-2).sub_(_HALF_LOG_TAU)))
    rest, negative = 1 - tail, x < 0
    return Tails(torch.where(negative, tail, rest), torch.where(negative, rest, tail))


def erf(x: Tensor) -> Tensor:
    """The error function; small arguments by its series."""
    x = x.double()
    tails = normal_tails(x * 1.4142135623730951)
    near = x.abs() < 0.1
    held = torch.where(near, x, 0.0)
    square = held * held
    series = held * (1 - square * (1 / 3 - square * (1 / 10 - square * (1 / 42 - square / 216)))) * 1.1283791670955126
    return torch.where(near, series, tails.below - tails.above)


def erfc(x: Tensor) -> Tensor:
    """Its complement."""
    return 2 * normal_tails(x.double() * 1.4142135623730951).above


def lgamma(x: Tensor) -> Tensor:
    """log Γ(x) for x > 0: Stirling's series from x + 8 on, and down again by the recurrence."""
    x = x.double()
    product = x
    for n in range(1, 8):
        product = product * (x + n)
    up = x + 8
    inverse = 1 / up
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    stirling = (up - 0.5) * log(up) - up + _HALF_LOG_TAU + series
    # Of large arguments the product overflows, and their series needs no shift.
    far = x > 1e20
    return torch.where(far, (x - 0.5) * log(x) - x + _HALF_LOG_TAU, stirling - log(torch.where(far, 1.0, product)))


@cache
def normal_quantiles(depth: int) -> Tensor:
    """Φ⁻¹(i / 2^(depth + 1)), i = 0, 1, ..., 2^(depth + 1): borders of bins at even places, middles at odd ones."""
    count = 2 ** (depth + 1)
    wanted = torch.arange(1, count // 2, dtype=torch.float64) / count
    low, high = torch.full_like(wanted, -39.0), torch.zeros_like(wanted)
    for _ in range(60):
        middle = (low + high) / 2
        under = normal_tails(middle).below < wanted
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    half = (low + high) / 2
    ends = torch.tensor([torch.inf], dtype=torch.float64)
    return torch.cat([-ends, half, torch.zeros(1, dtype=torch.float64), -half.flip(0), ends])
