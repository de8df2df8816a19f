"""A graph recorded once on a CUDA device and replayed at each step, without Python between its kernels."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch

from pyrovae.staged.compiler import Function

_WARM_UP = 3  # runs before the recording, in which libraries choose their kernels and take their memory


@contextmanager
def _refusing_to_wait() -> Iterator[None]:
    """An error where an operation makes the processor wait for the device, which no recording can hold."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


class Replayed:
    """A function of tensors as a CUDA graph.

    The graph reads from and writes to fixed places: inputs that stay the same tensors are used where they are,
    the others are copied into place. What it returns is overwritten by the next call.
    """

    def __init__(self, function: Function, examples: Sequence[torch.Tensor], moving: Collection[int]):
        self._moving = sorted(moving)
        self._inputs = [tensor.clone() if place in moving else tensor for place, tensor in enumerate(examples)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                function(*self._inputs)
            with _refusing_to_wait():  # a recording that fails leaves the generator and the memory unusable
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Another thread, in which the step of another shape is compiled, may take memory meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = function(*self._inputs)

    def __call__(self, *inputs: torch.Tensor) -> Sequence[torch.Tensor]:
        """Run the recorded kernels on these inputs."""
        for place in self._moving:
            self._inputs[place].copy_(inputs[place], non_blocking=True)
        self._graph.replay()
        return self._outputs
