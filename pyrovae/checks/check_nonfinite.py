"""NaN and infinity in the data of a training: refused, unless masks of the pair hide them."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches, check_finite
from pyrovae.data.inspection import is_floating, nonfinite
from pyrovae.data.placement import find_placement
from pyrovae.errors import DataError
from pyrovae.pairs.isolation import isolated
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.trace import run, samples, unconstrained


def check_nonfinite(pair: HasPair, batches: Batches, device: Any) -> None:
    """Refuse data with NaN or infinity, naming rows and columns, where the pair makes NaN or infinity of them.

    Args:
        pair: the pair, which a few rows with holes are tried on.
        batches: the data.
        device: where to train.

    Raises:
        DataError: there are holes, and no mask hides them.
    """
    try:
        check_finite(batches)
    except DataError:
        if not any(_is_sound(pair, batch, device) for batch in _with_holes(batches)):
            raise


def _with_holes(batches: Batches) -> list[Batch]:
    """The first rows that have some, and the first batch, for pairs that take whole batches only."""
    found = [batch for batch in (batches.first(),) if _holed_rows(batch.leaves).numel()]
    if not batches.random_access or not batches.leaves():
        return found
    rows = _holed_rows(batches.leaves()).unique()
    return [batches.transformed(batches.source.take(rows)._replace(positions=rows)), *found]


def _holed_rows(leaves: Any) -> torch.Tensor:
    return torch.cat([nonfinite(leaf)[2] for leaf in leaves.values() if is_floating(leaf)] or [torch.zeros(0).long()])


def _is_sound(pair: HasPair, batch: Batch, device: Any) -> bool:
    """Whether all log-probabilities and their gradients are finite."""
    try:
        batch = find_placement(pair, batch, device).place(batch)
        with isolated(), torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traces = run(pair, batch.args, batch.kwargs)
            scores = [_score(node) for trace in traces for _, node in samples(trace)]
            parameters = [unconstrained(node["value"]) for trace in traces for node in _parameters(trace)]
            total, live = torch.stack(scores).sum(), [one for one in parameters if one.requires_grad]
            gradients = torch.autograd.grad(total, live, allow_unused=True) if live and total.requires_grad else ()
        return all(bool(torch.isfinite(one).all()) for one in (total, *gradients) if one is not None)
    except Exception:
        return False  # the refusal says what is in the data


def _score(node: Any) -> torch.Tensor:
    return torch.as_tensor(scale_and_mask(node["fn"].log_prob(node["value"]), mask=node["mask"])).double().sum()


def _parameters(trace: Any) -> list[Any]:
    return [node for node in trace.nodes.values() if node["type"] == "param"]
