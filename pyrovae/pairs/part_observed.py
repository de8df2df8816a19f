"""Distributions of which some elements are observed: densities of these, and draws of the others."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.torch_distribution import MaskedDistribution, TorchDistribution
from torch.distributions import constraints

from pyrovae.errors import PairError
from pyrovae.pairs.lawful_values import lawful_value
from pyrovae.pairs.may_read import may_read


def observing(fn: Any, seen: torch.Tensor, site: str) -> Any:
    """The distribution of those elements that are seen, the others integrated out; the shapes stay as they are.

    Where elements are independent, the others count nowhere. Of a normal vector the marginal is normal. Of other joint
    events all elements have to be seen, or none.

    Args:
        fn: the distribution of all elements.
        seen: which of them count, of the shape of its draws.
        site: its name.

    Raises:
        PairError: an event is seen in part, and its marginal is not known.
    """
    seen = seen.expand(fn.shape())
    if isinstance(fn, MaskedDistribution):  # what it hides is not observed, whatever stands there
        hidden = torch.as_tensor(fn._mask, device=seen.device).reshape(
            (*getattr(fn._mask, "shape", ()), *[1] * fn.event_dim)
        )
        return observing(fn.base_dist, seen & hidden, site).mask(fn._mask)
    if type(fn).__name__ == "Independent":
        return observing(fn.base_dist, seen, site).to_event(fn.reinterpreted_batch_ndims)
    if not fn.event_shape:
        return HoledDistribution(fn, seen)
    return PartNormal(fn, seen) if _is_normal_vector(fn) else HoledDistribution(fn, _whole_events(fn, seen, site))


def _whole_events(fn: Any, seen: torch.Tensor, site: str) -> torch.Tensor:
    """Which events are seen, none of them in part."""
    elements = seen.flatten(-len(fn.event_shape))
    whole = elements.all(-1)
    if not bool((whole == elements.any(-1)).all()):
        raise PairError(
            f"{site!r} is observed in part, and its {type(fn).__name__} is a joint distribution of all its elements "
            "whose marginals are not known here. Observe it whole or not at all in each row, or write a distribution "
            "of independent elements (.to_event) or a MultivariateNormal."
        )
    return whole


def completed(fn: Any, value: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """A draw of the elements that are not seen, given those that are, beside these.

    Args:
        fn: what `observing` made.
        value: the values, anything where they are not seen; of the shape of a draw.
        seen: which count.
    """
    base = _without_wrappers(fn)
    drawn = base.completed(value) if isinstance(base, PartNormal) else fn.sample()
    return torch.where(seen, value, drawn)


def without_masks(fn: Any) -> Any:
    """The distribution of all elements, whatever masks stand inside it."""
    if isinstance(fn, PartNormal):
        return fn.whole
    if isinstance(fn, MaskedDistribution):
        return without_masks(fn.base_dist)
    if type(fn).__name__ == "Independent":
        base = without_masks(fn.base_dist)
        return fn if base is fn.base_dist else base.to_event(fn.reinterpreted_batch_ndims)
    return fn


def _without_wrappers(fn: Any) -> Any:
    while type(fn).__name__ == "Independent" or isinstance(fn, MaskedDistribution):
        fn = fn.base_dist
    return fn


def _is_normal_vector(base: Any) -> bool:
    return type(base).__name__ in ("MultivariateNormal", "LowRankMultivariateNormal")


class HoledDistribution(MaskedDistribution):
    """A masked distribution whose hidden elements may be missing: its values keep their holes, NaN and all.

    So a model that goes on with what it observed meets the holes, and not something in their place.
    """

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of what is seen."""
        seen = torch.as_tensor(self._mask, device=value.device)
        seen = seen.reshape((*seen.shape, *[1] * len(self.event_shape)))
        return super().log_prob(torch.where(seen, value, lawful_value(self.base_dist, value)))


class PartNormal(TorchDistribution):
    r"""A normal vector of which a part is observed.

    \[ \log p(x_o) = \log \mathcal N(x_o;\, \mu_o, \Sigma_{oo}), \qquad
    x_h \mid x_o \sim \mathcal N\big(\mu_h + \Sigma_{ho} \Sigma_{oo}^{-1} (x_o - \mu_o),\,
    \Sigma_{hh} - \Sigma_{ho} \Sigma_{oo}^{-1} \Sigma_{oh}\big) \]

    Attributes:
        whole: the distribution of all elements.
        seen_elements: which are observed, of the shape of a draw.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch declares it
    support = constraints.real_vector  # type: ignore[assignment]  # torch declares a property
    has_rsample = True

    def __init__(self, whole: Any, seen: torch.Tensor, validate_args: bool | None = None):
        self.whole, self.seen_elements = whole, seen
        super().__init__(whole.batch_shape, whole.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PartNormal:
        """The same for a larger batch."""
        batch_shape = torch.Size(batch_shape)
        return PartNormal(self.whole.expand(batch_shape), self.seen_elements.expand(batch_shape + self.event_shape))

    @property
    def mean(self) -> torch.Tensor:
        """Of all elements."""
        return self.whole.mean

    @property
    def variance(self) -> torch.Tensor:
        """Of all elements."""
        return self.whole.variance

    def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
        """Draw all elements anew."""
        return self.whole.rsample(torch.Size(sample_shape))

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """The density of what is observed."""
        factor = self._factor()
        rest = torch.where(self.seen_elements, torch.where(self.seen_elements, value, 0.0) - self.whole.loc, 0.0)
        solved = torch.linalg.solve_triangular(factor, rest.unsqueeze(-1), upper=False).squeeze(-1)
        logs = factor.diagonal(dim1=-2, dim2=-1).log() + 0.5 * math.log(2 * math.pi)
        return -(0.5 * solved.square() + torch.where(self.seen_elements, logs, 0.0)).sum(-1)

    def completed(self, value: torch.Tensor) -> torch.Tensor:
        """A draw of what is not observed given what is: one of all, moved by what its observed part is off by."""
        drawn = self.whole.sample()
        off = torch.where(self.seen_elements, torch.where(self.seen_elements, value, 0.0) - drawn, 0.0)
        solved = torch.cholesky_solve(off.unsqueeze(-1), self._factor())
        weights = torch.where(self.seen_elements.unsqueeze(-1), solved, 0.0)
        moved = drawn + (self.whole.covariance_matrix @ weights).squeeze(-1)
        return torch.where(self.seen_elements, value, moved)

    def _factor(self) -> torch.Tensor:
        """Of the observed block, with ones on the diagonal for the rest."""
        both = self.seen_elements.unsqueeze(-1) & self.seen_elements.unsqueeze(-2)
        block = torch.where(both, self.whole.covariance_matrix, 0.0)
        ones = (~self.seen_elements).to(block.dtype)
        return torch.linalg.cholesky(block + torch.diag_embed(ones))


def holes_in(value: torch.Tensor) -> torch.Tensor | None:
    """Which elements are missing: NaN, or of whole numbers the lowest one; None for kinds that have no such element."""
    if value.is_floating_point():
        return value.isnan()
    if value.dtype in (torch.int32, torch.int64):
        return value == torch.iinfo(value.dtype).min  # what NaN becomes where it is cast
    return None


def where_missing(value: torch.Tensor) -> torch.Tensor:
    """The same as a mask, False everywhere for kinds that have no such element."""
    holes = holes_in(value)
    return torch.zeros_like(value, dtype=torch.bool) if holes is None else holes


def with_holes(value: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Values of which those that are not seen are marked as missing.

    Raises:
        PairError: their type has no element for that.
    """
    if value.is_floating_point():
        return value.masked_fill(~seen, math.nan)
    if value.dtype in (torch.int32, torch.int64):
        return value.masked_fill(~seen, torch.iinfo(value.dtype).min)
    raise PairError(f"{value.dtype} has no value for what is missing: give the data as floating or as 64-bit numbers.")


def is_kept_by_casts(device: torch.device) -> bool:
    """Whether NaN that is cast to whole numbers stays known as missing, which is the device's to say."""
    cast = torch.full((1,), math.nan, device=device).long()
    return not may_read() or bool(cast == torch.iinfo(torch.int64).min)
