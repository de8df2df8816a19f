"""The connections of one training, beside those of the program's own group."""

from __future__ import annotations

import datetime
import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch.distributed as dist


class TrainingGroup:
    """A group of torch's for one training, and notes that its processes leave for one another.

    A process that leaves it closes its connections, which ends the others' wait at once, while the group of the program
    is left alone: the next training begins anew. Notes lie in the store of the program's group, so that no message is
    sent to a process that may be waiting for another one.

    Attributes:
        group: torch's.
    """

    def __init__(self, backend: str):
        while _over:  # in all processes, which have all come here
            _over.pop().close()
        self.group: Any = dist.new_group(backend=backend, timeout=_limit())
        self._name = f"pyrovae/{self.group.group_name}"

    def write(self, kind: str, rank: int, content: bytes) -> None:
        """Leave a note."""
        _store().set(f"{self._name}/{kind}/{rank}", content)

    def wait(self, kind: str, size: int, limit: datetime.timedelta) -> list[bytes]:
        """The notes of all processes, once they are there."""
        _store().wait([f"{self._name}/{kind}/{rank}" for rank in range(size)], limit)
        return list(self.read(kind, size))

    def read(self, kind: str, size: int) -> Iterator[bytes]:
        """The notes that are there."""
        for place in (f"{self._name}/{kind}/{rank}" for rank in range(size)):
            if _store().check([place]):
                yield _store().get(place)

    def rest(self) -> None:
        """Every message of this process has been answered; others may still be reading theirs."""
        _over.append(self)

    def close(self) -> None:
        """Close the connections."""
        with suppress(ValueError, AssertionError):  # they went with the program's group
            dist.destroy_process_group(self.group)
        self.group = None
        gc.collect()  # it lives as long as anybody holds it


_over: list[TrainingGroup] = []  # those of trainings that are over in this process


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _limit() -> datetime.timedelta | None:
    """How long a message is waited for: as in the program's group, whose limit may be its caller's."""
    group: Any = dist.distributed_c10d._get_default_group()
    options = getattr(group._get_backend(group._device_types[0]), "options", None)
    return getattr(options, "_timeout", None)


def close_all() -> None:
    """Close the program's group and all others.

    One that is still held when C++ ends is torn down with its threads running, which aborts.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
    for one in _over:
        one.group = None
    gc.collect()
