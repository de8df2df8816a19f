"""What a page shows of an observed site's distribution: means and scales, or the probabilities of classes."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch

from pyrovae.errors import PairError
from pyrovae.models.conditionals.or_anything import OrAnything
from pyrovae.models.conditionals.side_by_side import SideBySide
from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.classes import class_form, probabilities
from pyrovae.pairs.resting_transforms import resting_transforms
from pyrovae.prediction.readings import centre_of


class ShownPart(NamedTuple):
    """Some elements of a site.

    Attributes:
        places: which elements; None for all.
        classes: how many classes each has; 0 where they are numbers.
        outputs: probabilities `(elements, classes)`, or means and, where there are any, scales `(elements,)`.
    """

    places: list[int] | None
    classes: int
    outputs: list[torch.Tensor]


Centre = Literal["probabilities", "mean", "mode"]


def _families(fn: Any) -> list[tuple[list[int] | None, Any]]:
    """The distribution, or those of the columns of a table."""
    base = base_of(fn)
    base = base.clean if isinstance(base, OrAnything) else base
    return list(base.parts) if isinstance(base, SideBySide) else [(None, fn)]


def centres(name: str, fn: Any) -> list[Centre]:
    """What tells where a distribution lies, for each of its families.

    Raises:
        PairError: nothing does.
    """
    with resting_transforms(fn):
        return [_centre(name, part, places) for places, part in _families(fn)]


def _centre(name: str, fn: Any, places: list[int] | None) -> Centre:
    form = class_form(fn)
    ordered = isinstance(base_of(fn), torch.distributions.Categorical) and not base_of(fn).event_shape
    if ordered or form in ("labels", "one-hot") or (form == "binary" and places is not None):
        return "probabilities"
    found = centre_of(fn)
    if found is None:
        raise PairError(f"the distribution of {name!r} has neither a mean nor a mode that could be shown.")
    return "mean" if found == "mean" else "mode"


def shown_parts(fn: Any, known: list[Centre]) -> list[ShownPart]:
    """What is shown of a distribution of one row."""
    with resting_transforms(fn):
        return [_part(part, places, centre) for (places, part), centre in zip(_families(fn), known, strict=True)]


def _part(fn: Any, places: list[int] | None, centre: Centre) -> ShownPart:
    if centre == "probabilities":
        found = probabilities(fn)
        if class_form(fn) == "binary":  # a column of two classes
            found = torch.stack([1 - found, found], -1)
        return ShownPart(places, found.shape[-1], [found.reshape(-1, found.shape[-1])])
    shape = fn.batch_shape + fn.event_shape
    base = base_of(fn)
    student = centre == "mean" and isinstance(base, torch.distributions.StudentT)
    outputs = [(base.loc if student else getattr(fn, centre)).expand(shape).reshape(-1)]
    if centre == "mean" and (variance := _variance(fn)) is not None:
        outputs.append(variance.expand(shape).reshape(-1).sqrt())
    return ShownPart(places, 0, outputs)


def _variance(fn: Any) -> torch.Tensor | None:
    base = base_of(fn)
    if isinstance(base, torch.distributions.StudentT):  # torch writes it cell by cell, by values
        spread = base.scale.square() * base.df / (base.df - 2)
        return torch.where(base.df > 2, spread, torch.where(base.df > 1, torch.inf, torch.nan))
    try:
        return fn.variance
    except (NotImplementedError, AttributeError):  # how distributions say that they have none
        return None
