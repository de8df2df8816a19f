"""`check_pair`: every wrong pair is found in words, every sound one passes, and nothing is left behind."""

from __future__ import annotations

import logging
import random
import warnings
from contextlib import nullcontext

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from broken import BATCH, broken_pairs, sound_model, vae
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
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
    counts,
    decoder_net,
    pairs,
    real,
    rows,
    standard_normal,
)
from torch import nn
from torch.distributions import Distribution

import pyrovae as pv
from pyrovae import contracts
from pyrovae.contracts import findings

every_pair = pytest.mark.parametrize("entry", pairs())


def sound():
    return Pair_of("plain_functions")


def Pair_of(name):  # noqa: N802
    return REGISTRY[name].make()
