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
from pyrovae.sampling.site_rows import observed_in, rows_second, seen_in

_NATS = 8 * math.log(2)  # in a byte


class LevelRange(NamedTuple):
    """From which to which value 256 levels go; None where values are whole numbers as they are."""

    low: float
    high: float


def scales(sampler: Sampler) -> dict[str, LevelRange | None]:
    """How each observed site is brought to bytes: by its support, else by what the model draws, never by data."""
    run: Any = sampler.use.posterior_run.model
    supports = {site: known_support(base_of(run.nodes[site]["fn"])) for site in _observed(sampler)}
    drawn = next(sampler.tiles(8, "generative")) if any(map(_is_open, supports.values())) else None
    return {
        site: _range_of(drawn.value(site)) if drawn is not None and _is_open(support) else _of_support(support)
        for site, support in supports.items()
    }


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


def _of_support(support: Any) -> LevelRange | None:
    if type(support).__name__ in ("_Boolean", "_OneHot"):
        return LevelRange(0.0, 1.0)
    return None if support.is_discrete else LevelRange(float(support.lower_bound), float(support.upper_bound))


def _is_open(support: Any) -> bool:
    """Whether a support says nothing of the ends of what is seen; a distribution may then lack draws, which say it."""
    ends = (getattr(support, name, None) for name in ("lower_bound", "upper_bound"))
    return not support.is_discrete and not all(isinstance(end, int | float) for end in ends)


def _range_of(drawn: torch.Tensor) -> LevelRange:
    return LevelRange(float(drawn.min()), float(drawn.max()))


def _bytes(value: torch.Tensor, scale: LevelRange | None) -> torch.Tensor:
    if scale is not None:
        value = (value - scale.low) / ((scale.high - scale.low) or 1.0) * 255
    return value.round().nan_to_num(0).clamp(0, 255).to(torch.uint8)


def _size(row: torch.Tensor) -> int:
    if row.ndim < 2 or min(row.shape[-2:]) == 1:
        return len(zlib.compress(row.numpy().tobytes(), 9))
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(row.reshape(-1, row.shape[-1]).numpy()).save(buffer, "PNG", optimize=True)
    return buffer.tell()
