"""Pairs that run with a site summed out, and not at a value of it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO
from pyro.poutine.messenger import Messenger

from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair

_DEPTHS = (1, 2, 3)  # of plates; a pair that does not run does not say how many it has


class _Enumerated(Messenger):
    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def _pyro_post_sample(self, msg) -> None:
        if msg["infer"].get("enumerate"):
            self.names.append(msg["name"])


def summed_alone(pair: HasPair, args: tuple, kwargs: Mapping[str, Any]) -> str:
    """In words, for a pair that does not run: that it does where all values of a site are tried at once; else nothing.

    Code that repeats its latents once for each class, say, fits no single class.
    """
    for depth in _DEPTHS:
        noted = _Enumerated()
        with contextlib.suppress(Exception), isolated(0), torch.no_grad(), warnings.catch_warnings(), noted:
            warnings.simplefilter("ignore")
            TraceEnum_ELBO(max_plate_nesting=depth).loss(pair.model, pair.guide, *args, **kwargs)
            if noted.names:
                return (
                    f"It runs where {noted.names[0]!r} is summed out, all its values at once, and not at one value of "
                    "it, which figures and draws need. Let what it computes follow the shape of the value "
                    "(z.expand(*c.shape[:-1], z.shape[-1]) in place of z.repeat(classes, 1)): then it runs both ways."
                )
    return ""
