"""`check_pair` refuses what is no pair, leaves nothing behind, and survives what its clauses raise."""

from __future__ import annotations

import copy
import logging
import random
from contextlib import contextmanager, nullcontext

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from broken import sound_model, vae
from clauses import empty, every_pair, look, train
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from registry import (
    LATENT,
    REGISTRY,
    ROWS,
    WIDTH,
    Encoder,
    TutorialVAE,
    amortised_guide,
    arguments,
    binary,
    decoder_net,
    real,
)
from torch import nn
from torch.distributions import Distribution

import pyrovae as pv
from pyrovae.checks import check_pair as check_pair_module
from pyrovae.checks.check_pair import CLAUSES, findings

# What is given in place of a pair or of data


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (print, "no .model"),
        (None, "NoneType"),
        (pv.Pair(None, empty), ".model is None"),  # pyright: ignore[reportArgumentType]
        (TutorialVAE, "make an object of it first"),
    ],
)
def test_what_is_no_pair(pair, words):
    with pytest.raises(pv.PairError, match="not-a-pair") as caught:
        pv.check_pair(pair, binary())
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint8, ">f8", np.int64])
def test_arrays_are_converted_as_fit_does_it(kind):
    pair, x = REGISTRY["plain_functions"].make()
    array = x.numpy().astype(kind)
    if kind is np.int64:  # whole numbers stay what they are
        assert "int64" in look(pair, array)["dtype"]
    else:
        assert look(pair, array) == {}
        assert look(pair, array[::-1]) == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.array([None, "a"], dtype=object), "'x' holds Python objects"),
        (torch.zeros(0, WIDTH), "'x' is empty"),
        (np.zeros((0, WIDTH)), "'x' is empty"),
        (None, "'x' is None"),
        ([1.0, 2.0], "'x' is a list"),
        ((torch.zeros(2, WIDTH),), r"check_pair(pair, *batch)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_data(data, words):
    pair, _ = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.DataError) as caught:
        pv.check_pair(pair, data)
    assert words in str(caught.value)


def test_no_data_at_all():
    pair, x = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.PairError, match=r"neither side takes these data(.|\n)*check_pair\(pair, x\[:8\]\)"):
        pv.check_pair(pair)
    held = pv.Pair(lambda: pair.model(x), lambda: pair.guide(x))
    assert pv.check_pair(held) == ()


def test_shared_names_must_stand_in_one_order_where_data_go():
    model, guide = sound_model(decoder_net()), amortised_guide(Encoder())

    def check(model_side, guide_side):
        return look(pv.Pair(model_side, guide_side), real(), real().flip(0))

    assert check(lambda x, _: model(x), lambda y, _: guide(y)) == {}
    assert check(lambda x, c: model(x), lambda *args: guide(args[0])) == {}
    assert "order" in check(lambda x, c: model(x), lambda c, y: guide(c))["signature"]


# Nothing is left behind


def outside():
    """Everything global that a check might touch."""
    store = pyro.get_param_store()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(),
        "store": {name: id(tensor) for name, tensor in store._params.items()},
        "names": {id(tensor): name for tensor, name in store._param_to_name.items()},
        "constraints": {name: id(one) for name, one in store._constraints.items()},
        "values": {name: tensor.tolist() for name, tensor in store._params.items()},
        "validation": (pyro.infer.util.is_validation_enabled(), pyro.poutine.util.is_validation_enabled()),
        "arguments": Distribution._validate_args,
        "dtype": torch.get_default_dtype(),
        "stack": list(pyro.poutine.runtime._PYRO_STACK),
        "grad": torch.is_grad_enabled(),
    }


@contextmanager
def seen():
    """The modules that are called inside."""
    found: list[nn.Module] = []
    handle = nn.modules.module.register_module_forward_pre_hook(lambda module, inputs: found.append(module))
    try:
        yield found
    finally:
        handle.remove()


def inside(modules):
    """Everything that a module holds."""
    return [
        (
            module.training,
            list(module._parameters),
            list(module._modules),
            {name: buffer.tolist() for name, buffer in module.named_buffers()},
            {name: None if p.grad is None else p.grad.tolist() for name, p in module.named_parameters()},
            {name: id(p) for name, p in module.named_parameters()},
        )
        for module in modules
    ]


@every_pair
@pytest.mark.parametrize("validate", [True, False])
def test_nothing_is_left_behind(entry, validate):
    pair, data = entry.make()
    args, kwargs = arguments(data)
    modules = [one for one in (pair if isinstance(pair, tuple) else [pair]) if isinstance(one, nn.Module)]
    before = copy.deepcopy((args, kwargs))
    with pyro.validation_enabled(validate):
        for _ in range(2):
            state = outside(), inside(modules)
            findings(pair, args, kwargs, dataset_size=ROWS)
            assert (outside(), inside(modules)) == state
            if entry.loss is not Trace_ELBO:
                break
            with seen() as called:  # the second time with parameters, gradients and changed buffers
                train(pair, *args, **kwargs)
            modules = list({id(one): one for one in called}.values())
            for module in modules[::2]:
                module.training = not module.training
            for parameter in (p for module in modules for p in module.parameters()):
                parameter.grad = torch.ones_like(parameter)
    for given_leaf, kept in zip([*args, *kwargs.values()], [*before[0], *before[1].values()], strict=True):
        assert torch.equal(given_leaf, kept)


def test_data_are_not_written_into():
    pair, x = REGISTRY["plain_functions"].make()

    def guide(x):
        x.mul_(0.5)
        return pair.guide(x)

    kept = x.clone()
    findings(pv.Pair(pair.model, guide), (x,), {})
    assert torch.equal(x, kept)


def test_a_flow_keeps_no_stale_graph_of_the_data():
    flow = transforms.affine_autoregressive(WIDTH, hidden_dims=[16])

    def model(x):
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)
            pyro.sample("x", dist.TransformedDistribution(base, [flow]), obs=x)

    pair, x = pv.Pair(model, empty), real()[:4]
    assert look(pair, x) == {}
    train(pair, x)  # a graph kept by the flow's cache would be walked a second time


def test_a_trained_flow_is_asked_afresh(clauses_hold):
    flow, x = transforms.affine_autoregressive(WIDTH, hidden_dims=[16]), real()[:4]

    def model():
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1)
            pyro.sample("x", dist.TransformedDistribution(base, [flow]), obs=x)

    train(pv.Pair(model, empty))  # what the flow remembers of x now hangs on a graph that is gone
    assert look(pv.Pair(model, empty)) == {}


@pytest.mark.parametrize("validate", [True, False, None])
def test_distributions_that_the_caller_keeps_validate_as_before(validate):
    prior = dist.Independent(dist.Normal(torch.zeros(2), 1.0, validate_args=validate), 1)
    before = dict(vars(prior.base_dist))

    def model(x):
        w = pyro.sample("w", prior)
        with pyro.plate("data", ROWS):
            pyro.sample("x", dist.Normal(w.sum(), 1.0), obs=x)

    look(pv.Pair(model, AutoNormal(model)), real()[:, 0])
    assert vars(prior.base_dist) == before


def test_draws_that_a_message_counts_are_the_same_each_time():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("rate", dist.Gamma(2.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    messages = {look(pv.Pair(model, guide), real()[:, 0])["guide-support"] for _ in range(2) if len(torch.rand(3))}
    assert len(messages) == 1
    assert "of 32 draws" in messages.pop()


@pytest.mark.parametrize("name", ["score_function", "auto_normal", "time_steps", "subsample_by_index"])
def test_it_says_the_same_each_time(name):
    entry = REGISTRY[name]
    pair, data = entry.make()
    wrong = pv.Pair(poutine.scale(pair.model, scale=0.5), pair.guide)
    first = findings(wrong, *arguments(data))
    pyro.set_rng_seed(99)
    assert findings(wrong, *arguments(data)) == first
    assert first


@pytest.mark.parametrize(
    "around",
    [
        nullcontext,
        lambda: pyro.plate("outer", 3),
        lambda: poutine.scale(scale=0.1),
        lambda: poutine.mask(mask=torch.tensor(False)),
        lambda: poutine.block(hide_all=True),
        lambda: poutine.condition(data={"z": torch.zeros(ROWS, LATENT)}),
        torch.no_grad,
        torch.inference_mode,
    ],
    ids=["nothing", "plate", "scale", "mask", "block", "condition", "no_grad", "inference_mode"],
)
def test_it_works_inside_whatever_the_caller_is_in(around):
    pair, x = REGISTRY["plain_functions"].make()
    with poutine.trace() as outer, around():
        before = len(outer.trace.nodes)
        assert look(pair, x) == {}
        assert list(look(pv.Pair(pair.model, empty), x)) == ["site-missing-in-guide"]
        assert len(outer.trace.nodes) == before


# Exceptions


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), pv.DataError("mine"), pv.DivergedError("mine", step=3, site=None)]
)
@pytest.mark.parametrize("side", ["model", "guide"])
def test_an_interrupt_and_errors_in_words_pass_unchanged(error, side):
    def stop(x):
        raise error

    pair, x = REGISTRY["plain_functions"].make()
    with pytest.raises(type(error)) as caught:
        pv.check_pair(pv.Pair(**{**pair._asdict(), side: stop}), x)
    assert caught.value is error


@pytest.mark.parametrize("place", range(0, len(CLAUSES) + 1, 5))
def test_a_clause_that_fails_hides_nothing(place, monkeypatch, caplog):
    def failing(look):
        yield pv.Finding("first", "warning", "found before it failed")
        raise RuntimeError("a clause that fails")

    clauses = [*CLAUSES[:place], failing, *CLAUSES[place:]]
    monkeypatch.setattr(check_pair_module, "CLAUSES", tuple(clauses))
    pair, x = REGISTRY["plain_functions"].make()
    with caplog.at_level(logging.DEBUG, logger="pyrovae"):
        assert list(look(pv.Pair(pair.model, empty), x)) == ["site-missing-in-guide", "first"]
    assert "failing could not be checked" in caplog.text


def test_a_clause_lets_errors_in_words_pass(monkeypatch):
    def failing(look):
        raise pv.ArgumentError("in words")
        yield

    monkeypatch.setattr(check_pair_module, "CLAUSES", (failing,))
    pair, x = REGISTRY["plain_functions"].make()
    with pytest.raises(pv.ArgumentError, match="in words"):
        pv.check_pair(pair, x)


def test_fit_says_the_same():
    pair, x = vae(lambda out: dist.Normal(out, 0.5).to_event(1), real())
    with pytest.raises(pv.PairError, match=r"^\[site-missing-in-guide\]"):
        pv.fit(pv.Pair(pair.model, empty), x, epochs=1, progress=False)


def test_the_contract_is_among_those_for_users_own_tests():
    assert pv.testing.check_pair is pv.check_pair
