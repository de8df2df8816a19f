"""What tests of `check_pair` share."""

from __future__ import annotations

import pyro
import pytest
from hypothesis import settings
from pyro.infer import SVI, Trace_ELBO
from registry import pairs

from pyrovae.checks.check_pair import findings

every_pair = pytest.mark.parametrize("entry", pairs())
quick = settings(max_examples=25)


def look(pair, *batch, **options):
    """The findings by clause: {clause: message}."""
    return {finding.clause: finding.message for finding in findings(pair, batch, {}, **options)}


def empty(*batch, **named):
    """A guide without sites."""


def train(pair, *args, **kwargs):
    SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(*args, **kwargs)
