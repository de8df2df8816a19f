"""The processes of one training, and what they tell each other."""

from __future__ import annotations

import atexit
import datetime
import gc
import itertools
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from pyrovae.errors import ArgumentError, ParallelError, argument

# A process that is lost closes its connections, which shows at once; this is for one that hangs or was stopped. Long
# enough for one that reads its data from a slow disk; a group that the caller has made has a limit of its own.
_PATIENCE = datetime.timedelta(minutes=10)

_TOGETHER = datetime.timedelta(seconds=20)  # within which processes that end a loop at the same step come to say so


class SingleProcess:
    """A training in one process: nothing is said to anybody."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def average_(self, tensors: Sequence[torch.Tensor]) -> None:
        """The average over all processes, in place."""

    def copy_(self, tensors: Iterable[torch.Tensor]) -> None:
        """The first process's values, in place."""

    def broadcast(self, value: Any) -> Any:
        """A plain value of the first process."""
        return value

    def all_gather(self, value: Any) -> list[Any]:
        """Plain values of all processes, in order."""
        return [value]

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return flag

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """What goes wrong inside in one process ends all of them, each in words; none comes out before the others."""
        yield

    def parting(self, value: Any) -> list[Any] | None:
        """Plain values of all processes where all leave a training at this step; None where others go on."""
        return [value]


class Team(SingleProcess):
    """Several processes that make each step together."""

    def __init__(self, rank: int, size: int):
        self.rank = rank
        self.size = size

    def average_(self, tensors: Sequence[torch.Tensor]) -> None:
        """The average over all processes, in place: one message for each type of number."""
        by_kind: dict[tuple, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for alike in by_kind.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            with _worded(self):
                dist.all_reduce(flat)
            flat /= self.size
            parts = flat.split([tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def copy_(self, tensors: Iterable[torch.Tensor]) -> None:
        """The first process's values, in place."""
        with torch.no_grad(), _worded(self):
            for tensor in tensors:
                value = tensor.detach().contiguous()
                dist.broadcast(value, src=0)
                if value.data_ptr() != tensor.data_ptr():
                    tensor.copy_(value)

    def broadcast(self, value: Any) -> Any:
        """A plain value of the first process."""
        return self.all_gather(value)[0]

    def all_gather(self, value: Any) -> list[Any]:
        """Plain values of all processes, in order.

        Raises:
            ParallelError: another process has failed, and says how in place of its value.
        """
        held = self._exchange((None, value))
        failed = [(rank, words) for rank, (words, _) in enumerate(held) if words is not None]
        if failed:
            raise ParallelError(
                f"process {failed[0][0]} of the {self.size} of this training has ended: {failed[0][1]} Mend that, and "
                "start all of them again."
            )
        return [value for _, value in held]

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """What goes wrong inside in one process ends all of them, each in words; none comes out before the others.

        Only plain values may be exchanged inside: an error is told in the place of the next one, whichever it is.
        """
        try:
            yield
            self.all_gather(None)
        except ParallelError:
            raise
        except Exception as error:
            self._exchange((f"{type(error).__name__}: {error}", None))
            raise

    def _exchange(self, value: Any) -> list[Any]:
        held: list[Any] = [None] * self.size
        with _worded(self):
            dist.all_gather_object(held, value)
        return held

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return any(self.all_gather(bool(flag)))

    def parting(self, value: Any) -> list[Any] | None:
        """Plain values of all processes where all leave a training at this step; None where others go on.

        No message is sent to a process that may be waiting for another one: each leaves a note in the group's
        store. A process that leaves alone ends the group, which ends the others' wait.
        """
        store, number = dist.distributed_c10d._get_default_store(), next(_partings)
        notes = [f"pyrovae/parting/{number}/{rank}" for rank in range(self.size)]
        try:
            store.set(notes[self.rank], pickle.dumps(value))  # pyright: ignore[reportArgumentType] - it takes bytes
            store.wait(notes, _TOGETHER)
            return [pickle.loads(store.get(note)) for note in notes]  # the notes are this program's own
        except RuntimeError:  # too late, or the store is gone with its process
            _leave()
            return None


_partings = itertools.count()


_AGREE = 16  # steps between two questions: asking costs a message


def agreed(team: SingleProcess, step: int, wanted: bool) -> bool:
    """Whether any process wants something, such as to stop; several ask each other after every so many steps."""
    if team.size == 1:
        return wanted
    return step % _AGREE == 0 and team.any(wanted)


def find_team(device: str | torch.device = "auto") -> SingleProcess:
    """The processes that torchrun has started, or the group that the caller has made; else this process alone.

    Args:
        device: where the training is: tensors on CUDA travel by NCCL, those on the CPU by gloo.
    """
    if dist.is_available() and dist.is_initialized():
        size = dist.get_world_size()
        return Team(dist.get_rank(), size) if size > 1 else SingleProcess()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2 or "RANK" not in os.environ:
        return SingleProcess()
    if not dist.is_available():
        raise ArgumentError(
            "WORLD_SIZE asks for several processes, but this torch was built without torch.distributed."
        )
    on_cuda = torch.cuda.is_available() and str(device).startswith(("auto", "cuda"))
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    team = Team(int(os.environ["RANK"]), size)
    with _worded(team):
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=_PATIENCE
        )  # figures stay on the CPU
    atexit.register(_leave)  # and not sooner: a script may train more than once
    return team


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
    gc.collect()  # a group that is still held when C++ ends is torn down with its threads running, which aborts


@contextmanager
def _worded(team: Team) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's own error of a group is one
        said = " ".join(str(error).split())[:200]
        what = "has not answered for too long, stopped or hanging," if "imed out" in said else "was lost"
        raise ParallelError(
            f"another of the {team.size} processes of this training {what} ({said}). Start all of them again with "
            f"{argument('resume', True)}."
        ) from error
