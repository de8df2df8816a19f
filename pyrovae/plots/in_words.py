"""Results as text: what a terminal or a notebook shows of figures of many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_BLOCKS = "▁▂▃▄▅▆▇█"

_BINS = 16

_FEW = 4  # numbers that are shown as they are


def in_words(result: Any) -> str:
    """A result with several figures, one line each.

    Args:
        result: a NamedTuple of tensors, numbers, words and other results.

    Examples:
        >>> from typing import NamedTuple
        >>> class Result(NamedTuple):
        ...     score: torch.Tensor
        ...     source: str
        >>> print(in_words(Result(torch.arange(16.0), "model")))
        Result
          score   (16)  mean 7.5, from 0 to 15  ████████████████
          source  'model'
    """
    values = {name: value for name, value in result._asdict().items() if value is not None}
    wide = max(map(len, values))
    lines = [f"  {name:<{wide}}  {_worded(value)}" for name, value in values.items()]
    return "\n".join([type(result).__name__, *lines])


def of_numbers(values: torch.Tensor) -> str:
    """Shape, mean, range and histogram of a tensor; the numbers themselves where there are few.

    Examples:
        >>> of_numbers(torch.tensor([0.5, 2.0])), of_numbers(torch.tensor([True] * 5))
        ('0.5, 2', '(5)  5 of 5 true')
    """
    flat = values.detach().reshape(-1)
    if flat.numel() <= _FEW:
        return ", ".join(_number(one) for one in flat.tolist()) or "none"
    shape = f"({', '.join(map(str, values.shape))})"
    if values.dtype == torch.bool:
        return f"{shape}  {int(flat.sum()):,} of {flat.numel():,} true"
    flat = flat.double()
    finite = flat[flat.isfinite()]
    lost = "" if len(finite) == len(flat) else f", {len(flat) - len(finite):,} not finite"
    if not len(finite):
        return f"{shape}  none of them finite"
    low, high = finite.min().item(), finite.max().item()
    spread = f"  {sketch(finite)}" if high > low else ""
    return f"{shape}  mean {_number(finite.mean().item())}, from {_number(low)} to {_number(high)}{lost}{spread}"


def sketch(values: torch.Tensor) -> str:
    """A histogram in one line.

    Examples:
        >>> sketch(torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]))
        '█              ▂'
    """
    counts = torch.histc(values.detach().double().reshape(-1), _BINS).tolist()
    return bars(counts)


def bars(heights: list[float]) -> str:
    """Heights from 0 on as blocks; nothing where there is nothing.

    Examples:
        >>> bars([0.0, 1.0, 2.0])
        ' ▄█'
    """
    top = max(heights, default=0.0) or 1.0
    return "".join(_BLOCKS[max(0, round(8 * height / top) - 1)] if height > 0 else " " for height in heights)


def _worded(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return of_numbers(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return "".join(f"\n    {name!r}  {_worded(one)}" for name, one in value.items())
    return repr(value).replace("\n", "\n    ")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
