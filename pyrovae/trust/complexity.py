"""How much there is to say of a datum, whatever the model: its size after compression."""

from __future__ import annotations

import io
import math
import zlib
from typing import Any, NamedTuple

import torch

from pyrovae.pairs.base_of import base_of
from pyrovae.pairs.known_support import known_support
from pyrovae.sampling.sampler import Sampler
from pyrovae.trust.site_rows import observed_in, rows_second, seen_in

_NATS = 8 * math.log(2)  # in a byte


class LevelRange(NamedTuple):
    """From which to which value 256 levels go; None where values are whole numbers as they are."""

    low: float
    high: float


def scales(sampler: Sampler) -> dict[str, LevelRange | None]:
    """How each observed site is brought to bytes: by its support, else by what the model draws, never by data."""
    tile = next(sampler.tiles(8, "generative"))
    return {site: _scale(tile.runs[0].node(site)["fn"], tile.value(site)) for site in _observed(sampler)}


def complexities(sampler: Sampler, run: Any, levels: dict[str, LevelRange | None]) -> torch.Tensor:
    """The compressed size of each row of a single run, in nats, over its observed sites, (rows,).

    Values become bytes; two dims or more become a PNG, whose filters know neighbours on all sides, others are deflated.
    """
    total: Any = 0.0
    for site in _observed(sampler):
        seen = rows_second(sampler, seen_in(run, site), site)[0]
        value = rows_second(sampler, observed_in(run, site)[None], site)[0]
        whole = _bytes(value.double(), levels[site]).masked_fill(~seen, 0).cpu()
        total = total + torch.tensor([_size(row) for row in whole], dtype=torch.float64)
    return total * _NATS


def _observed(sampler: Sampler) -> list[str]:
    return sampler.structure.named("observed")


def _scale(fn: Any, drawn: torch.Tensor) -> LevelRange | None:
    support = known_support(base_of(fn))
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if type(support).__name__ in ("_Boolean", "_OneHot"):
        return LevelRange(0.0, 1.0)
    if support.is_discrete:
        return None
    if isinstance(low, int | float) and isinstance(high, int | float):
        return LevelRange(float(low), float(high))
    return LevelRange(float(drawn.min()), float(drawn.max()))


def _bytes(value: torch.Tensor, scale: LevelRange | None) -> torch.Tensor:
    if scale is not None:
        value = (value - scale.low) / max(scale.high - scale.low, 1e-12) * 255
    return value.round().nan_to_num(0).clamp(0, 255).to(torch.uint8)


def _size(row: torch.Tensor) -> int:
    if row.ndim < 2 or min(row.shape[-2:]) == 1:
        return len(zlib.compress(row.numpy().tobytes(), 9))
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(row.reshape(-1, row.shape[-1]).numpy()).save(buffer, "PNG", optimize=True)
    return buffer.tell()
