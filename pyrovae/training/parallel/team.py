"""The processes of one training, and what they tell each other."""

from __future__ import annotations

import atexit
import datetime
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.distributed as dist

from pyrovae.errors import ArgumentError, ParallelError, argument
from pyrovae.training.parallel.training_group import TrainingGroup, close_all

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

    def meet(self) -> None:
        """Begin a training: from here on a process that leaves it ends the wait of all others."""

    def finish(self) -> None:
        """End it: every message of it has been answered in this process."""

    def leave(self, error: BaseException) -> None:
        """Leave a training that others may be in the midst of: their next message ends, and they say why."""

    def parting(self, value: Any, why: BaseException) -> list[Any] | None:
        """Plain values of all processes where all leave a training at this step; None where others go on."""
        return [value]


class Team(SingleProcess):
    """Several processes that make each step together."""

    def __init__(self, rank: int, size: int, backend: str):
        self.rank = rank
        self.size = size
        self._backend = backend
        self._training: TrainingGroup | None = None
        self._gone = False

    # --- a training -----------------------------------------------------------------------------------

    def meet(self) -> None:
        """Begin a training: from here on a process that leaves it ends the wait of all others."""
        self._exchange((None, None))  # in the group of the program, where a process that is lost shows at once
        with self._worded():
            self._training = TrainingGroup(self._backend)

    def finish(self) -> None:
        """End it: every message of it has been answered in this process."""
        if self._training is not None:
            self._training.rest()
            self._training, self._gone = None, True

    def leave(self, error: BaseException) -> None:
        """Leave a training that others may be in the midst of: their next message ends, and they say why."""
        if self._training is None:
            return
        words = error if isinstance(error, ParallelError) else self._ended(self.rank, words_of(error))
        with suppress(RuntimeError):  # the store is gone with its process
            self._training.write("ended", self.rank, str(words).encode("utf-8", "backslashreplace"))
        self._training.close()
        self._training, self._gone = None, True

    def parting(self, value: Any, why: BaseException) -> list[Any] | None:
        """Plain values of all processes where all leave a training at this step; None where others go on."""
        if self._training is None:
            return None
        try:
            self._training.write("parting", self.rank, pickle.dumps(value))
            notes = self._training.wait("parting", self.size, _TOGETHER)
            return [pickle.loads(note) for note in notes]  # they are this program's own
        except RuntimeError:  # too late, or the store is gone with its process
            self.leave(why)
            return None

    # --- messages -------------------------------------------------------------------------------------

    @property
    def _group(self) -> Any:
        if self._gone:
            raise ParallelError("this training has been left, so that no other process answers.")
        return None if self._training is None else self._training.group

    def average_(self, tensors: Sequence[torch.Tensor]) -> None:
        """The average over all processes, in place: one message for each type of number.

        Those on the CPU go first, and there is always one: a process that has left shows there, and on a GPU does not.
        """
        by_kind: dict[tuple, list[torch.Tensor]] = {}
        if all(tensor.device.type != "cpu" for tensor in tensors):
            tensors = [torch.zeros(1), *tensors]
        for tensor in sorted(tensors, key=lambda tensor: tensor.device.type != "cpu"):
            by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for alike in by_kind.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            with self._worded():
                dist.all_reduce(flat, group=self._group)
            flat /= self.size
            parts = flat.split([tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def copy_(self, tensors: Iterable[torch.Tensor]) -> None:
        """The first process's values, in place."""
        with torch.no_grad(), self._worded():
            for tensor in tensors:
                value = tensor.detach().contiguous()
                dist.broadcast(value, src=0, group=self._group)
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
            raise self._ended(*failed[0])
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
            self._exchange((words_of(error), None))
            raise

    def _exchange(self, value: Any) -> list[Any]:
        held: list[Any] = [None] * self.size
        with self._worded():
            dist.all_gather_object(held, value, group=self._group)
        return held

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return any(self.all_gather(bool(flag)))

    # --- words ----------------------------------------------------------------------------------------

    @contextmanager
    def _worded(self) -> Iterator[None]:
        """A message that was not answered as an error that says which process has ended, and why."""
        try:
            yield
        except RuntimeError as error:  # torch's own error of a group is one
            raise self._told() or _lost(self, error) from error

    def _told(self) -> ParallelError | None:
        """What a process says that has left."""
        with suppress(RuntimeError):
            notes = () if self._training is None else self._training.read("ended", self.size)
            return next((ParallelError(note.decode()) for note in notes), None)
        return None

    def _ended(self, rank: int, words: str) -> ParallelError:
        return ParallelError(
            f"process {rank} of the {self.size} of this training has ended: {words.rstrip('.')}. Mend that, and start "
            "all of them again."
        )


def words_of(error: BaseException) -> str:
    """An error as one process tells it to the others."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _lost(team: Team, error: RuntimeError) -> ParallelError:
    said = " ".join(str(error).split())[:200]
    what = "has not answered for too long, stopped or hanging," if "imed out" in said else "was lost"
    return ParallelError(
        f"another of the {team.size} processes of this training {what} ({said}). Start all of them again with "
        f"{argument('resume', True)}."
    )


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
    on_cuda = torch.cuda.is_available() and str(device).startswith(("auto", "cuda"))
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"  # figures stay on the CPU
    if dist.is_available() and dist.is_initialized():
        size = dist.get_world_size()
        return Team(dist.get_rank(), size, backend) if size > 1 else SingleProcess()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2 or "RANK" not in os.environ:
        return SingleProcess()
    if not dist.is_available():
        raise ArgumentError(
            "WORLD_SIZE asks for several processes, but this torch was built without torch.distributed."
        )
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    team = Team(int(os.environ["RANK"]), size, backend)
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
    except RuntimeError as error:
        raise _lost(team, error) from error
    atexit.register(close_all)  # and not sooner: a script may train more than once
    return team
