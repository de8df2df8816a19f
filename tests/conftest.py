"""Every test starts from the same state, must leave no trace in the next one, and has an end."""

from __future__ import annotations

import gc
import logging
import os
import re

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pyro
import pytest
import torch
from hypothesis import settings
from known_models import classes
from sampled import parted, shared
from time_limit import SECONDS, children, limited

import pyrovae as pv

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, derandomize=True)  # neither the clock nor chance decides
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser):
    parser.addoption("--part", choices=("sample", "rest"), help="a part of the suite (tests/sampled.py); all, left out")
    parser.addoption("--share", default="1/1", help="of it a share, 2/3 say, so that three runs have met every case")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]):
    # Workers compare what they have collected, and a name with an address in it is another one in each.
    if named := [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]+", item.nodeid)]:
        raise pytest.UsageError(f"the name of a case holds an address: {named[0]}; give its parameters ids.")
    kept = list(items)
    if part := config.getoption("part"):
        kept = parted(items)[("sample", "rest").index(part)]
    kept = shared(kept, config.getoption("share"))
    config.hook.pytest_deselected(items=list({*items} - {*kept}))
    items[:] = kept


def pytest_collection_finish():
    """What is imported by now stays: the collector need not look through it again and again, a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


BEFORE = pytest.StashKey[set[int]]()  # the children of this process before a test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    item.stash[BEFORE] = children()
    with limited(SECONDS, "the preparation of " + item.nodeid, item.stash[BEFORE]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    with limited(SECONDS, item.nodeid, item.stash[BEFORE]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item):
    with limited(SECONDS, "the clearing up after " + item.nodeid, item.stash[BEFORE]):
        return (yield)


@pytest.fixture(autouse=True)
def _fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()


@pytest.fixture
def linear() -> pv.truth.LinearGaussian:
    weight = torch.tensor([[1.0, 0.2], [0.3, -1.0], [0.5, 0.5], [-0.7, 0.1]])
    return pv.truth.LinearGaussian(weight, torch.tensor([0.1, 0.0, -0.2, 0.3]), 0.6)


@pytest.fixture(name="classes")
def _classes() -> pv.truth.DiscreteMixture:
    return classes()


@pytest.fixture
def clauses_hold(caplog):
    """No clause itself may fail: that is logged, and would be found nowhere else."""
    caplog.set_level(logging.DEBUG, logger="pyrovae")
    yield
    messages = [record.getMessage() for record in caplog.get_records("call")]
    assert [message for message in messages if "could not be checked" in message] == []
