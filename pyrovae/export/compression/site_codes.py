"""How the values of a site are numbered, and what its distributions say of the numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyrovae.errors import DataError, PairError
from pyrovae.export.compression import exact_functions, exact_products
from pyrovae.export.compression.descents import BorderTree, Descent, MassTree, MixtureDescent, OneDecision
from pyrovae.export.compression.exact_functions import Tails
from pyrovae.pairs.base_of import base_of

FINE, _COARSE = 12, 8  # bits of a latent number whose distributions are normal, or others, asked at every point


class SiteCode(NamedTuple):
    """The numbers of a site's values.

    Attributes:
        kind: "grid" (bins of a real number), "levels" (of a discretised logistic), "whole" (0, 1, 2, ...), "one_hot".
        top: the largest number.
        dtype: of the values.
        loc: of the normal distribution of whose mass each bin of a grid holds the same part; () for the others.
        scale: of it.
    """

    kind: str
    top: int
    dtype: torch.dtype
    loc: Tensor
    scale: Tensor

    @property
    def depth(self) -> int:
        """Decisions to a number."""
        return max(1, self.top.bit_length())

    def shape(self, fn: Any) -> torch.Size:
        """Of the numbers."""
        shape = fn.batch_shape + fn.event_shape
        return shape[:-1] if self.kind == "one_hot" else shape

    # --- values -------------------------------------------------------------------------------------------
    def value(self, numbers: Tensor, fn: Any) -> Tensor:
        """The values of numbers (any shape whose product is right)."""
        numbers = numbers.reshape(self.shape(fn))
        if self.kind == "one_hot":
            return torch.nn.functional.one_hot(numbers, self.top + 1).to(self.dtype)
        if self.kind == "grid":
            points = exact_functions.normal_quantiles(self.depth)[2 * numbers + 1]
            return self._from_real(self.loc.double() + self.scale.double() * points, fn)
        if self.kind == "levels":
            base = base_of(fn)
            highest = torch.as_tensor(base.highest, dtype=torch.float32)
            return (numbers * highest / (base.levels - 1)).to(self.dtype)
        return numbers.to(self.dtype)

    def numbers(self, value: Tensor, fn: Any, site: str) -> Tensor:
        """The numbers of discrete values, in one row.

        Raises:
            DataError: a value has none.
        """
        value = value.expand(fn.batch_shape + fn.event_shape)
        if self.kind == "one_hot":
            found = value.argmax(-1)
        elif self.kind == "levels":
            base = base_of(fn)
            found = torch.round(value.double() * (base.levels - 1) / float(torch.as_tensor(base.highest).max())).long()
        else:
            found = value.nan_to_num(-1.0).long()
        inside = found.clamp(0, self.top)
        astray = self.value(inside, fn) != value.to(self.dtype)
        if bool(astray.any()):
            raise DataError(_astray_words(site, value[astray].reshape(-1)[0].item(), self))
        return inside.reshape(-1)

    def placeholder(self, fn: Any) -> Tensor:
        """A value of the right form, for a run in which it plays no part."""
        numbers = torch.full(self.shape(fn), (self.top + 1) // 2 if self.kind == "grid" else 0, dtype=torch.int64)
        return self.value(numbers, fn)

    # --- distributions ------------------------------------------------------------------------------------
    def descent(self, fn: Any) -> Descent:
        """The decisions that lead to a number under a distribution; read in the pair's own arithmetic."""
        base, shape = base_of(fn), self.shape(fn)
        if self.kind == "grid" and _is_normal(base):
            return _normal_bins(self, _flat(base.loc, shape), _flat(base.scale, shape), shape)
        if self.kind == "grid" and is_normal_mixture(fn):
            return _mixture(self, base, shape)
        if self.kind == "levels":
            return _levels_of(_flat(base.loc, shape), _flat(base.scale, shape), self.top + 1)
        if self.kind == "whole" and self.top == 1 and isinstance(base, torch.distributions.Bernoulli):
            share = base.probs if "probs" in base.__dict__ else exact_functions.sigmoid(base.logits)
            return OneDecision(_flat(share, shape))
        log_mass = self._log_masses(base, fn, shape)
        top = log_mass.max(-1, keepdim=True).values
        return MassTree(exact_functions.exp((log_mass - top).nan_to_num(-800.0, neginf=-800.0)))

    def _log_masses(self, base: Any, fn: Any, shape: torch.Size) -> Tensor:
        """log p of every number, up to a constant, (n, numbers)."""
        if self.kind == "one_hot":
            return base.logits.double().expand(*shape, self.top + 1).reshape(-1, self.top + 1)
        if isinstance(base, torch.distributions.Categorical):
            return base.logits.double().expand(*shape, self.top + 1).reshape(-1, self.top + 1)
        lead = (self.top + 1, *[1] * len(shape))
        numbers = torch.arange(self.top + 1).reshape(lead)
        if self.kind != "grid":
            log_mass = base.log_prob(numbers.to(self.dtype))
        else:
            points = exact_functions.normal_quantiles(self.depth)[2 * numbers + 1]
            real = self.loc.double() + self.scale.double() * points
            transform: Any = biject_to(base.support)
            value = self._from_real(real, fn)
            volume = transform.log_abs_det_jacobian(real.to(self.dtype), value)
            # Bins hold the same mass of a normal distribution: what counts is the density's quotient to its own.
            log_mass = base.log_prob(value).double() + volume.double() + points * points / 2
        return log_mass.double().expand(self.top + 1, *shape).reshape(self.top + 1, -1).T

    def _from_real(self, real: Tensor, fn: Any) -> Tensor:
        real = real.to(self.dtype)
        return real if is_real(fn) else biject_to(base_of(fn).support)(real)


def _flat(parameter: Tensor, shape: torch.Size) -> Tensor:
    return parameter.double().expand(shape).reshape(-1)


def _is_normal(base: Any) -> bool:
    return type(base).__name__ == "Normal" and isinstance(base, torch.distributions.Normal)


def _normal_bins(code: SiteCode, loc: Tensor, scale: Tensor, shape: torch.Size) -> BorderTree:
    # t = (m + s e - loc) / scale
    start = (code.loc.double().expand(shape).reshape(-1) - loc) / scale
    slope = code.scale.double().expand(shape).reshape(-1) / scale
    points = exact_functions.normal_quantiles(code.depth)

    def borders(index: Tensor) -> Tails:
        return exact_functions.normal_tails(start + slope * points[2 * index])

    return BorderTree(borders, code.depth, [loc, scale])


def is_normal_mixture(fn: Any) -> bool:
    """Whether a distribution is a mixture of vectors of independent normal elements."""
    base = base_of(fn)
    if not isinstance(base, torch.distributions.MixtureSameFamily) or len(base.event_shape) != 1:
        return False
    return _is_normal(base_of(base.component_distribution))


def _mixture(code: SiteCode, base: Any, shape: torch.Size) -> MixtureDescent:
    normal, logits = base_of(base.component_distribution), base.mixture_distribution.logits
    count, width = logits.shape[-1], shape[-1]
    loc, scale = (
        one.double().expand(*shape[:-1], count, width).reshape(-1, count, width) for one in (normal.loc, normal.scale)
    )
    weights = exact_functions.exp(logits.double().expand(*shape[:-1], count).reshape(-1, count))
    rows = torch.arange(len(loc))

    def component(chosen: Tensor) -> BorderTree:
        return _normal_bins(code, loc[rows, chosen].reshape(-1), scale[rows, chosen].reshape(-1), shape)

    def log_masses(numbers: Tensor) -> Tensor:
        points = exact_functions.normal_quantiles(code.depth)[2 * numbers.reshape(shape) + 1]
        real = (code.loc.double() + code.scale.double() * points).reshape(-1, 1, width)
        t = (real - loc) / scale
        return exact_products.total(t * t / -2 - exact_functions.log(scale), [-1])

    return MixtureDescent(weights, component, log_masses, [weights, loc, scale])


def _levels_of(loc: Tensor, scale: Tensor, levels: int) -> BorderTree:
    def borders(index: Tensor) -> Tails:
        tails = exact_functions.logistic_tails((index - 0.5 - loc) / scale)
        end = index >= levels
        return Tails(torch.where(end, 1.0, tails.below), torch.where(end, 0.0, tails.above))

    return BorderTree(borders, max(1, (levels - 1).bit_length()), [loc, scale])


def is_real(fn: Any) -> bool:
    """Whether every number is a value of a distribution's elements."""
    support: Any = base_of(fn).support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support is constraints.real


def depth_of_grid(*fns: Any) -> int:
    """Bits of a latent number with these distributions."""
    return FINE if all(_is_normal(base_of(fn)) or is_normal_mixture(fn) for fn in fns) else _COARSE


def _astray_words(site: str, value: float, code: SiteCode) -> str:
    whole = f"a whole number from 0 to {code.top}" if code.kind == "whole" else f"one of {code.top + 1} levels"
    mend = "x = (x > 0.5).float()" if code.top == 1 else "x = x.round().clamp(0, 255), say"
    return (
        f"site {site!r} observes {value:g}, which is no value that its distribution gives a probability ({whole}), so "
        f"that it has no code. Quantise first: {mend}; and train the pair on such data."
    )


# --- which numbering a site takes ---------------------------------------------------------------------------
def discrete_code(fn: Any, value: Tensor, site: str, *, most: int) -> SiteCode:
    """The numbers of a discrete site.

    Args:
        fn: its distribution.
        value: what it holds.
        site: its name, for an error.
        most: for a distribution without an upper end the largest number that counts.

    Raises:
        PairError: the distribution is over events whose parts are not independent, or of no kind that is known here.
    """
    base, none = base_of(fn), torch.zeros(())
    if isinstance(base, torch.distributions.OneHotCategorical):
        return SiteCode("one_hot", base.logits.shape[-1] - 1, value.dtype, none, none)
    refuse_joint(fn, site)
    if _has_levels(base):
        return SiteCode("levels", int(base.levels) - 1, value.dtype, none, none)
    if isinstance(base, torch.distributions.Categorical):
        return SiteCode("whole", base.logits.shape[-1] - 1, value.dtype, none, none)
    upper = getattr(base.support, "upper_bound", None)
    top = most if upper is None else int(torch.as_tensor(upper).max())
    if top > 65_535:
        raise PairError(
            f"site {site!r} has counts up to {top:,}, more than 65,535, and a table of every count would not fit into "
            "memory. Give counts in larger units."
        )
    return SiteCode("whole", max(top, 1), value.dtype, none, none)


def is_discrete(fn: Any) -> bool:
    """Whether a site's values can be numbered."""
    base = base_of(fn)
    return bool(getattr(base.support, "is_discrete", False)) or _has_levels(base)


def _has_levels(base: Any) -> bool:
    return all(hasattr(base, name) for name in ("levels", "highest", "loc", "scale"))


def refuse_joint(fn: Any, site: str) -> None:
    """Refuse a distribution over events whose elements depend on one another."""
    base = base_of(fn)
    if base.event_shape:
        raise PairError(
            f"site {site!r} has a {type(base).__name__} over {len(base.event_shape)} dims of an event: its elements "
            "depend on one another, and coding takes them one by one, each by its own distribution. Give it a "
            "distribution whose elements are independent (pv.DiagNormal, `.to_event` of a Normal), or several sites."
        )
