"""Which elements of a site count: the one reading of the masks that stand around a site and inside its distribution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.distributions.torch_distribution import MaskedDistribution

from pyrovae.pairs.base_of import is_wrapper


def mask_of(node: Mapping[str, Any]) -> torch.Tensor | None:
    """Which elements of a site's value count, (*batch, *event); None where nothing masks them."""
    return mask_around(node["fn"], node["mask"], node["value"])


def mask_around(fn: Any, mask: Any, value: torch.Tensor) -> torch.Tensor | None:
    """The same for a distribution, the mask of `poutine.mask` around it, and a value (for its device).

    True, a tensor of it and no mask at all leave every element in; False and a tensor of it leave none.
    """
    joined: torch.Tensor | None = None
    for one, events in ((mask, len(fn.event_shape)), *_inner_masks(fn)):
        if one is not None and one is not True:
            one = torch.as_tensor(one, device=value.device).bool()
            one = one.reshape((*one.shape, *[1] * events))
            joined = one if joined is None else joined & one
    if joined is None:
        return None
    return joined.expand(torch.broadcast_shapes(joined.shape, fn.batch_shape + fn.event_shape))


def hides_a_part(node: Mapping[str, Any]) -> bool:
    """Whether a mask takes any element of a site out of account."""
    mask = mask_of(node)
    return mask is not None and not bool(mask.all())


def is_masked_out(fn: Any) -> bool:
    """Whether `.mask(False)` was called on a distribution."""
    return any(mask is False for mask, _ in _inner_masks(fn))


def same_elements(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether two masks of one site leave the same elements in; None leaves all."""
    if one is None or other is None:
        mask = other if one is None else one
        return mask is None or bool(mask.all())
    try:
        return torch.equal(*torch.broadcast_tensors(one, other))
    except RuntimeError:  # enumeration adds dims to one side
        return True


def one_sided_words(name: str) -> str:
    """What is wrong where a latent site's mask is not that of the other side, and the line that mends it."""
    mask = "~obs_mask" if name.endswith("_unobserved") else "..."
    return (
        f"a mask hides another part of {name!r} in the guide than in the model, so that log q counts where log p does "
        f"not, or the other way round. Put the same mask around the guide's site: with poutine.mask(mask={mask}): "
        f"pyro.sample({name!r}, ...)."
    )


def _inner_masks(fn: Any) -> Iterator[tuple[Any, int]]:
    """The masks that `.mask` put around a distribution, and how many event dims each of them had."""
    while is_wrapper(fn):
        if isinstance(fn, MaskedDistribution):
            yield fn._mask, len(fn.event_shape)
        fn = fn.base_dist
    if (seen := getattr(fn, "seen_elements", None)) is not None:
        yield seen, 0
