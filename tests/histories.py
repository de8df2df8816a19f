"""Histories of trainings, to be compared."""

from __future__ import annotations

import torch

import pyrovae as pv


def small_vae() -> pv.VAE:
    """A pair of five columns, the same each time."""
    torch.manual_seed(0)
    return pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), pv.DiagNormal(pv.MLP(5, [], 4)))


def untimed(history):
    """The rows but for the time that they took."""
    return [row._replace(seconds=0) for row in history]
