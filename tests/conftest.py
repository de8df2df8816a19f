"""Every test starts from the same state, must leave no trace in the next one, and has an end."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pyro
import pytest
import torch
from hypothesis import settings
from time_limit import SECONDS, limited

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, derandomize=True)  # neither the clock nor chance decides
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    with limited(SECONDS, "the preparation of " + item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    with limited(SECONDS, item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item):
    with limited(SECONDS, "the clearing up after " + item.nodeid):
        return (yield)


@pytest.fixture(autouse=True)
def _fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()
