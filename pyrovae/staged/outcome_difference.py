"""Whether a graph still computes what the pair computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

# Rounding differs between kernels; a parameter's gradient may be small against the whole.
_OF_OWN_NORM = 1e-4

_OF_WHOLE_NORM = 1e-6

_LOW_PRECISION = 500.0  # times as much for products in bfloat16, whose rounding is 2**-8


_FIGURES = ("loss", "ELBO", "rate", "distortion")


class Outputs(NamedTuple):
    """What a graph gives."""

    figures: torch.Tensor  # loss, ELBO, rate and distortion per datum, and the norm of the gradients
    gradients: Sequence[torch.Tensor]
    state: Sequence[torch.Tensor]  # of the loss


class Outcome(NamedTuple):
    """What one pass leaves behind."""

    figures: torch.Tensor  # loss, ELBO, rate, distortion
    gradients: Mapping[str, torch.Tensor]
    buffers: Mapping[str, torch.Tensor]
    state: Mapping[str, torch.Tensor]
    random: torch.Tensor  # the state of the generator after it


def difference(plain: Outcome, staged: Outcome, *, low_precision: bool = False) -> str | None:
    """What differs between a plain and a staged pass from the same start, in words; None where nothing does."""
    slack = _LOW_PRECISION if low_precision else 1.0
    if set(plain.gradients) != set(staged.gradients):
        names = sorted(set(plain.gradients) ^ set(staged.gradients))
        return f"gradients of {', '.join(names[:3])} come and go"
    if not torch.equal(plain.random, staged.random):
        return "it draws another number of random numbers"
    if _far(plain.figures, staged.figures, 0.0, slack):
        return _most_different(plain.figures, staged.figures)
    whole = _whole(plain.gradients) * _OF_WHOLE_NORM * slack
    for kind, one, other in (
        ("the gradient of", plain.gradients, staged.gradients),
        ("the buffer", plain.buffers, staged.buffers),
        ("the loss's own", plain.state, staged.state),
    ):
        for name in one:
            if _far(one[name], other[name], whole if one is plain.gradients else 0.0, slack):
                return f"{kind} {name!r} differs"
    return None


def _most_different(plain: torch.Tensor, staged: torch.Tensor) -> str:
    place = int((plain.double() - staged.double()).abs().argmax())  # of a NaN before all others
    return f"the {_FIGURES[place]} is {float(staged[place]):.7g} and should be {float(plain[place]):.7g}"


def _whole(gradients: Mapping[str, torch.Tensor]) -> float:
    norms = [float(gradient.norm()) for gradient in gradients.values()]
    return max(norms, default=0.0)


def _far(one: torch.Tensor, other: torch.Tensor, absolute: float, slack: float) -> bool:
    one, other = one.double(), other.double()
    distance = float((one - other).norm())
    return not distance <= _OF_OWN_NORM * slack * float(one.norm()) + absolute + 1e-12
