"""A graph as machine code, by torch's own compiler, in the background or at once."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.fx import GraphModule
from torch.fx._symbolic_trace import _Patcher

from pyrovae.pairs.looks.isolation import validation_restored
from pyrovae.staged.rewriting.gamma_functions import vectorise_gamma_functions

Function = Callable[..., Sequence[torch.Tensor]]


# Random numbers from torch's own generators, so that a compiled step draws what an uncompiled one would.
_OPTIONS: dict[str, Any] = {"fallback_random": True}


def compile_graph(module: GraphModule, examples: Sequence[torch.Tensor]) -> Function:
    """Compile a graph of a flat list of tensors.

    torch keeps the compiled code in its cache folder (`TORCHINDUCTOR_CACHE_DIR`), so that the same graph compiles
    within seconds the next time. Settings of Pyro and torch are left alone, see `make_patches`.

    Args:
        module: the graph.
        examples: its inputs; shapes, types and layouts are taken from them.

    Returns:
        A function of the same inputs and outputs.
    """
    make_patches()
    written = GraphModule({}, copy.deepcopy(module.graph))
    vectorise_gamma_functions(written)
    written.recompile()
    with _one_at_a_time, _only_this_thread(), _quiet(), torch.no_grad():
        from torch._inductor import standalone_compile

        compiled: Any = standalone_compile(
            written, list(examples), dynamic_shapes="from_example_inputs", options={"config_patches": _OPTIONS}
        )
    _remember(module)
    return compiled


_one_at_a_time = threading.Lock()  # one that outlives its training may meet that of the next


@functools.cache
def make_patches() -> None:
    """Let torch's compiler change the process now, as it does once, and give back the validation that it switches off.

    It would do so wherever it first compiles: in a thread, while the user may switch validation himself.
    """
    from torch._dynamo.eval_frame import TorchPatcher

    with validation_restored():
        TorchPatcher.patch()


@contextmanager
def _only_this_thread() -> Iterator[None]:
    """Beside a training, which goes on in the main thread, nothing of it is touched."""
    if threading.current_thread() is threading.main_thread():
        yield
        return
    with own_calls_only(), random_states_left():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that the compiler gives about itself; other threads may not change their filters."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Compiling:
    """A compilation under way in a thread of its own."""

    def __init__(self, module: GraphModule, examples: Sequence[torch.Tensor]):
        self.function: Function | None = None
        self.error: Exception | None = None
        make_patches()  # in the caller's thread
        self._thread = threading.Thread(target=self._run, args=(module, examples), daemon=True, name="pyrovae-compile")
        self._thread.start()

    def done(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return not self._thread.is_alive()

    def _run(self, module: GraphModule, examples: Sequence[torch.Tensor]) -> None:
        try:
            self.function = compile_graph(module, examples)
        except Exception as error:
            self.error = error


@contextmanager
def own_calls_only() -> Iterator[None]:
    """Tracers see the calls of modules in their own thread alone.

    The compiler traces small functions of its own, and torch.fx has every call of a module in the process go to the
    tracer meanwhile: a step in another thread would fail with "module is not installed as a submodule".
    """
    patch_method = _Patcher.patch_method

    def bound(patcher: Any, owner: type, name: str, function: Callable[..., Any], deduplicate: bool = True) -> None:
        before, thread = getattr(owner, name), threading.get_ident()

        @functools.wraps(function)
        def own(*args: Any, **kwargs: Any) -> Any:
            return (function if threading.get_ident() == thread else before)(*args, **kwargs)

        patch_method(patcher, owner, name, own, deduplicate)

    with mock.patch.object(_Patcher, "patch_method", bound):
        yield


@contextmanager
def random_states_left() -> Iterator[None]:
    """This thread sets no random states.

    The compiler notes them at its start and sets them at its end, though it draws nothing: a training beside it would
    draw the random numbers of those seconds a second time.
    """
    thread = threading.get_ident()

    def elsewhere(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def own(*args: Any, **kwargs: Any) -> Any:
            return None if threading.get_ident() == thread else original(*args, **kwargs)

        return own

    with ExitStack() as stack:
        for module in (torch.random, torch.cuda):
            stack.enter_context(mock.patch.object(module, "set_rng_state", elsewhere(module.set_rng_state)))
        yield


# --- what compiling costs -----------------------------------------------------------------------------
_FIRST = 12.0  # seconds for a graph of some hundred operations that was never compiled, on two cores

_AGAIN = 3.0  # seconds where torch's cache holds its code


def seconds_to_compile(module: GraphModule) -> float:
    """How long compiling will take: what it took before with a filled cache, or a guess by the size of the graph."""
    if _note(module).exists():
        return _AGAIN
    return _FIRST * max(1.0, len(module.graph.nodes) / 250)


def _remember(module: GraphModule) -> None:
    """Note beside torch's own cache that this graph's code is there."""
    path = _note(module)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else


def _note(module: GraphModule) -> Path:
    shapes = [str(tuple(n.meta["val"].shape)) for n in module.graph.nodes if n.op == "placeholder" and "val" in n.meta]
    text = "\n".join([torch.__version__, str(torch.get_num_threads()), *shapes, module.code])
    return _cache_folder() / "pyrovae" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _cache_folder() -> Path:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(os.fspath(cache_dir()))
