"""Observations outside the data plate that look at what stands inside it."""

from __future__ import annotations

from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.structure import Structure
from pyrovae.sampling.programs import only_global, run_once


def observed_together(pair: HasPair, batch: Batch, structure: Structure) -> list[str]:
    """Observed sites and factors outside the data plate whose score follows the local latents; use it quietly.

    Args:
        pair: the pair, its data plate holding the rows of the batch.
        batch: some rows.
        structure: the pair's.
    """
    names = [*structure.named("observed", local=False), *structure.named("factor", local=False)]
    if structure.data_plate is None or not names or not structure.named("latent", local=True):
        return []
    one = run_once(pair, batch, structure, "posterior")
    other = run_once(pair, batch, structure, "posterior", only_global(one.guide, structure))
    return [
        name for name in names if name in one.model and not _score(one.model, name).equal(_score(other.model, name))
    ]


def _score(trace: Any, name: str) -> torch.Tensor:
    node = trace.nodes[name]
    return node["fn"].log_prob(node["value"])
