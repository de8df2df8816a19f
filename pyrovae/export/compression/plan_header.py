"""A plan as plain values, for the header of a file, and back."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.batch_sources import Batch
from pyrovae.export.compression.block_coder import CodingPlan, Part
from pyrovae.export.compression.coding_order import CodingStep
from pyrovae.export.compression.site_codes import SiteCode

Leaves = tuple[tuple[int | str, torch.dtype, tuple[int, ...]], ...]

_KINDS = ("grid", "levels", "whole", "one_hot")
_TYPES = {
    str(one).removeprefix("torch."): one
    for one in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.int32,
        torch.int64, torch.bool,
    )
}  # fmt: skip


class Header(NamedTuple):
    """What stands at the beginning of a file.

    Attributes:
        digest: of the pair.
        words: the pair for people.
        plate: that of the rows.
        follows: whether its size is that of the batch.
        exact: whether the pair ran in exact arithmetic.
        made_on: torch and machine, for people.
        leaves: name, type and shape of one row of each argument.
        plan: how rows are coded.
    """

    digest: str
    words: str
    plate: str
    follows: bool
    exact: bool
    made_on: str
    leaves: Leaves
    plan: CodingPlan

    def zeros(self, rows: int) -> dict[int | str, Tensor]:
        """Arguments of so many rows with nothing in them."""
        return {key: torch.zeros((rows, *shape), dtype=dtype) for key, dtype, shape in self.leaves}

    def to_plain(self) -> dict[str, Any]:
        """Values for JSON."""
        plan = self.plan
        return {
            "pair": [self.digest, self.words, self.plate, self.follows],
            "made": [self.exact, self.made_on],
            "leaves": [[key, _name(dtype), list(shape)] for key, dtype, shape in self.leaves],
            "codes": {
                site: [code.kind, code.top, _name(code.dtype), _plain(code.loc), _plain(code.scale)]
                for site, code in plan.codes.items()
            },
            "parts": {site: list(part) for site, part in plan.parts.items()},
            "order": [list(step) for step in plan.order],
            # Of what a step reads only arguments decide into how many runs decoding falls.
            "reads": [[one for one in plan.reads[step] if not isinstance(one, tuple)] for step in plan.order],
            "block": plan.block,
        }

    @classmethod
    def of_plain(cls, plain: Any) -> Header:
        """And back.

        Raises:
            ValueError, TypeError, KeyError: the values are not those of a header.
        """
        codes = {str(site): _code(*one) for site, one in plain["codes"].items()}
        parts = {
            str(site): Part(_key(key), int(offset), tuple(map(int, strides)))
            for site, (key, offset, strides) in plain["parts"].items()
        }
        order = tuple(_step(*one) for one in plain["order"])
        reads = {step: frozenset(map(_key, several)) for step, several in zip(order, plain["reads"], strict=True)}
        leaves = tuple((_key(key), _TYPES[dtype], tuple(map(int, shape))) for key, dtype, shape in plain["leaves"])
        if not {step.site for step in order} <= set(codes) or not set(parts) <= set(codes):
            raise ValueError("a step of a site without a code")
        digest, words, plate, follows = plain["pair"]
        exact, made_on = plain["made"]
        plan = CodingPlan(codes, parts, order, reads, int(plain["block"]))
        if plan.block < 1:
            raise ValueError("blocks of no rows")
        return cls(str(digest), str(words), str(plate), bool(follows), bool(exact), str(made_on), leaves, plan)


def leaves_of(batch: Batch) -> Leaves:
    """Name, type and shape of one row of each argument."""
    return tuple((key, leaf.dtype, tuple(leaf.shape[1:])) for key, leaf in batch.leaves.items())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _key(value: Any) -> int | str:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise TypeError("an argument has a place or a name")
    return value


def _step(side: Any, site: Any) -> CodingStep:
    if side not in ("guide", "model"):
        raise ValueError("a step of no side")
    return CodingStep(side, str(site))


def _code(kind: Any, top: Any, dtype: Any, loc: Any, scale: Any) -> SiteCode:
    if kind not in _KINDS or not 1 <= int(top) < 2**16:
        raise ValueError("a code of no kind that is known")
    return SiteCode(str(kind), int(top), _TYPES[dtype], _tensor(loc), _tensor(scale))


def _plain(tensor: Tensor) -> list:
    """Shape, and one number where all are the same, else their bytes."""
    if tensor.numel() and bool((tensor == tensor.reshape(-1)[0]).all()):
        return [list(tensor.shape), float(tensor.reshape(-1)[0])]
    return [list(tensor.shape), base64.b85encode(tensor.float().numpy().astype("<f4").tobytes()).decode()]


def _tensor(plain: Any) -> Tensor:
    shape, content = plain
    if not isinstance(content, str):
        return torch.full([int(one) for one in shape], float(content))
    array = np.frombuffer(base64.b85decode(content), "<f4").astype(np.float32)
    return torch.from_numpy(array.copy()).reshape([int(one) for one in shape])
