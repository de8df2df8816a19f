"""The compiler beside a training, and the graphs that it is given."""

from __future__ import annotations

import functools
import itertools
import random
import threading
import time

import numpy as np
import pyro
import pytest
import torch
from staged_pairs import X
from torch import nn
from torch._dynamo import eval_frame
from torch._dynamo.utils import preserve_rng_state
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.staged import compiler
from pyrovae.staged.rewriting import graphs, products
from pyrovae.staged.tracing import selections


def test_modules_run_while_the_compiler_traces_in_another_thread():
    tracing, done = threading.Event(), threading.Event()

    def traced(x):
        tracing.set()
        done.wait(30)
        return x + 1

    def trace():
        with compiler.own_calls_only():
            torch.fx.symbolic_trace(traced)

    thread = threading.Thread(target=trace)
    thread.start()
    try:
        assert tracing.wait(30)
        # The tracer knows no such module, and would refuse it.
        assert nn.Linear(2, 3)(torch.zeros(1, 2)).shape == (1, 3)
    finally:
        done.set()
        thread.join()


def test_a_compilation_that_outlives_its_training_leaves_validation_and_random_numbers_alone(monkeypatch):
    started, end = threading.Event(), threading.Event()
    patched: list[threading.Thread] = []
    states = (torch.get_rng_state, lambda: repr(np.random.get_state()), random.getstate)  # noqa: NPY002  # the old global state is what must stay

    def patch():
        patched.append(threading.current_thread())
        torch.distributions.Distribution.set_default_validate_args(False)

    def standalone_compile(module, examples, **_):
        """What of torch's own could be seen outside."""
        eval_frame.TorchPatcher.patch()
        with preserve_rng_state():
            started.set()
            end.wait(30)
        return module

    monkeypatch.setattr("torch._inductor.standalone_compile", standalone_compile)
    monkeypatch.setattr(eval_frame.TorchPatcher, "patch", functools.cache(patch))
    compiler.make_patches.cache_clear()
    under_way = compiler.Compiling(make_fx(torch.sin)(X), [X])
    try:
        assert started.wait(30)
        assert patched == [threading.current_thread()]
        assert torch.distributions.Distribution._validate_args
        pyro.enable_validation(False)  # the user's own doing
        torch.rand(3)
        before = [state() for state in states]
        end.set()
        under_way._thread.join()
        assert under_way.function is not None
        assert not torch.distributions.Distribution._validate_args
        assert not pyro.infer.util.is_validation_enabled()
        for state, value in zip(states, before, strict=True):
            assert torch.equal(state(), value) if isinstance(value, torch.Tensor) else state() == value
    finally:
        end.set()
        pyro.enable_validation(True)
    state = torch.random.get_rng_state()
    torch.rand(3)
    torch.random.set_rng_state(state)  # works as before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_was_compiled_once_takes_little_time_the_next_time(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.standalone_compile", lambda module, *_, **options: module)
    module, other = make_fx(torch.sin)(X), make_fx(torch.cos)(X)
    before = compiler.seconds_to_compile(module)
    compiler.compile_graph(module, [X])
    assert compiler.seconds_to_compile(module) < before / 2
    assert compiler.seconds_to_compile(make_fx(torch.sin)(X)) < before / 2  # the same of another run
    assert compiler.seconds_to_compile(other) == before
    assert compiler.seconds_to_compile(make_fx(torch.sin)(X[:3])) == before


def test_two_compilations_follow_each_other(monkeypatch):
    at_once, most = [], []

    def standalone_compile(module, examples, **_):
        at_once.append(module)
        time.sleep(0.05)
        most.append(len(at_once))
        at_once.clear()
        return module

    monkeypatch.setattr("torch._inductor.standalone_compile", standalone_compile)
    before = compiler._Patcher.patch_method
    both = [compiler.Compiling(make_fx(torch.sin)(X), [X]) for _ in range(2)]
    for one in both:
        one._thread.join()
    assert most == [1, 1]
    assert compiler._Patcher.patch_method is before


@pytest.mark.parametrize("of_rows", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_a_selection_that_goes_back_to_its_place_has_no_shape_of_its_own(of_rows, single):
    def program(x, weight):
        with torch.enable_grad():
            weight = weight.detach().requires_grad_()
            mask = x[:, 0] > 0 if of_rows else x > 0
            inside = (x * weight).cos()
            view = inside.view(-1)
            inside[mask] = (x.sin() * weight)[mask]
            inside[~mask] = 2.0
            (gradient,) = torch.autograd.grad((inside * x).sum(), weight)
        return view.clone(), gradient

    weight = torch.randn(3)
    first, second, none = torch.randn(8, 3), torch.randn(8, 3), -torch.rand(8, 3)
    if single:  # of which torch makes a scalar, or a row
        first = torch.where(torch.arange(24).reshape(8, 3) == 6, 1.0, -first.abs())
    graph = make_fx(program, tracing_mode="real")(first, weight)
    selections.select_in_place(graph)
    graph.recompile()
    assert not any(node.target is torch.ops.aten.index.Tensor for node in graph.graph.nodes)
    for x in (first, second, none):
        for one, other in zip(program(x, weight), graph(x, weight), strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["plain", "left", "right", "both"])
def test_products_by_onednn_are_in_single_precision(layout):
    left = torch.randn(64, 96) if layout in ("plain", "right") else torch.randn(96, 64).t()
    right = torch.randn(96, 48) if layout in ("plain", "left") else torch.randn(48, 96).t()
    bias = torch.randn(48)
    exact = left.double() @ right.double() + bias.double()
    error = float((products.product(left, right, bias) - exact).norm() / exact.norm())
    assert error < 1e-6
    assert float((products.product(left, right, None) - (exact - bias)).norm() / exact.norm()) < 1e-6


def test_products_are_replaced_where_that_is_faster():
    def function(left, right, bias):
        return torch.addmm(bias, left, right).sum(0, keepdim=True) @ right.t()

    given = (torch.randn(8, 4), torch.randn(4, 6), torch.randn(6))
    module = make_fx(function)(*given)
    assert graphs.replace_products(module, lambda left, right: left.shape[0] == 8, products.product) == 1
    graphs.plain(module).graph.lint()
    targets = [node.target for node in module.graph.nodes]
    assert targets.count(products.product) == 1
    assert torch.ops.aten.mm.default in targets
    assert torch.allclose(module(*given), function(*given), atol=1e-5)


def test_the_route_of_a_product_is_measured(monkeypatch):
    times = {"mm": 1.0, "onednn": 2.0}
    monkeypatch.setattr(
        products, "_timed", lambda route: times["onednn" if "onednn" in route.__code__.co_names[0] else "mm"]
    )
    big, other = torch.randn(256, 256), torch.randn(256, 257)
    assert not products.onednn_is_faster(big, other)
    times["onednn"] = 0.5
    products._measure.cache_clear()
    assert products.onednn_is_faster(big, other)
    assert not products.onednn_is_faster(big.double(), other.double())
    assert not products.onednn_is_faster(big[:4, :4], other[:4, :4])
    products._measure.cache_clear()


def test_what_else_the_machine_does_decides_no_route(monkeypatch):
    disturbed = iter(itertools.cycle([9.0, 9.0, 9.0, 1.0]))
    monkeypatch.setattr(
        products, "_timed", lambda route: 2.0 if "onednn" in route.__code__.co_names[0] else next(disturbed)
    )
    products._measure.cache_clear()
    assert not products.onednn_is_faster(torch.randn(256, 256), torch.randn(256, 258))
    products._measure.cache_clear()
