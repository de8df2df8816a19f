"""The numbers in a tensor or an array that a pair holds, put back after a look at it."""

from __future__ import annotations

import array
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.weak import WeakTensorKeyDictionary

from pyrovae.errors import warn_user

NUMBERS = 100_000  # in a tensor beyond which it holds data, not state

_told: Any = WeakTensorKeyDictionary()  # large tensors of which it was said that they are not put back


class NumberState(NamedTuple):
    """The numbers in a tensor or an array, which a program may count or average in, in place.

    They are compared: neither `.data` nor what shares an array's memory leaves a trace in a tensor's version.
    """

    held: Any
    before: Any

    @classmethod
    def of(cls, held: Any) -> NumberState | LargeState | None:
        """As it is now; None for what is trained, or cannot be written into.

        Up to 100,000 numbers are copied. What is larger holds data, and is left as it is.
        """
        if isinstance(held, torch.Tensor):
            return cls._of_tensor(held)
        if isinstance(held, array.array | bytearray):
            return cls(held, _copied(held)) if len(held) < NUMBERS else None
        copied = type(held) is np.ndarray and held.flags.writeable and held.size < NUMBERS and not held.dtype.hasobject
        return cls(held, _copied(held)) if copied else None

    @classmethod
    def _of_tensor(cls, held: torch.Tensor) -> NumberState | LargeState | None:
        if type(held) not in (torch.Tensor, torch.nn.Parameter) or held.requires_grad or not _may_be_written(held):
            return None
        return cls(held, _copied(held)) if held.numel() < NUMBERS else LargeState(held, held._version)

    def again(self) -> NumberState:
        """What is there now."""
        return NumberState(self.held, _copied(self.held))

    def restore(self) -> bool:
        """Put the numbers back where they have changed; nothing new can have come."""
        if isinstance(self.held, array.array | bytearray):
            if self.held != self.before:
                self.held[:] = self.before  # type: ignore[assignment]  # a copy of the same type
        elif isinstance(self.held, np.ndarray):
            if self.held.shape == self.before.shape and self.held.tobytes() != self.before.tobytes():
                self.held[...] = self.before
        elif self.held.shape == self.before.shape and not self._unchanged():
            # By `.data`, which leaves the version alone: a graph of the caller's that holds the tensor stays valid.
            self.held.data.copy_(self.before)
        return False

    def _unchanged(self) -> bool:
        """Whether no number has changed; on a device they are not looked at, for which it would be waited."""
        return self.held.device.type == "cpu" and _equal(self.held.detach(), self.before)


class LargeState(NamedTuple):
    """A tensor that is too large to be copied, and how often it was written into."""

    held: torch.Tensor
    version: int

    def again(self) -> LargeState:
        """What is there now."""
        return LargeState(self.held, self.held._version)

    def restore(self) -> bool:
        """Nothing can be put back."""
        return False

    def tell(self) -> None:
        """Warn, once, where it was written into."""
        if self.held._version != self.version and self.held not in _told:
            _told[self.held] = True
            warn_user(
                f"the pair writes into a tensor of its own, of shape {tuple(self.held.shape)}, at each run, and looks "
                f"at a pair are runs, too. What it holds is put back after them up to {NUMBERS:,} numbers; this one "
                "moves on beside the training. Write into it where its module is in training mode only "
                "(if self.training: ...), which no look is."
            )


def _copied(held: Any) -> Any:
    return (
        held.detach().clone()
        if isinstance(held, torch.Tensor)
        else held.copy()
        if isinstance(held, np.ndarray)
        else held[:]
    )


def _may_be_written(held: torch.Tensor) -> bool:
    """Not so a tensor whose elements share their place, one of inference, or one without numbers."""
    plain = held.layout is torch.strided and held.device.type != "meta" and not held.is_quantized
    return plain and not held.is_inference() and all(s or n < 2 for s, n in zip(held.stride(), held.shape, strict=True))


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype:
        return False  # its numbers are others, by `.data = ...`
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())
