"""NaN and infinity in the data of a training: refused, unless masks of the pair hide them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask

from pyrovae.checks.exceptions import first_sentence
from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.data.inspection import Leaf, is_floating, nonfinite, nonfinite_words
from pyrovae.data.placement import find_placement
from pyrovae.errors import DataError, PyrovaeError
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.masked import takes_holes
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.trace import run, samples, unconstrained

# Batches with holes that a pair is tried on before it is trained; beyond them, training finds what no mask hides.
_TRIED = 16


def check_nonfinite(pair: HasPair, batches: Batches, first: Batch, device: Any) -> None:
    """Refuse data with NaN or infinity, naming rows and columns, where the pair makes NaN or infinity of them.

    Args:
        pair: the pair, which is tried on batches of rows with holes.
        batches: the data.
        first: their first batch.
        device: where to train.

    Raises:
        DataError: there are holes, and masks do not hide all of them.
    """
    words = "" if takes_holes(pair) else holes(batches, first)
    try:
        if words and not all(_is_sound(pair, batch, device) for batch in _with_holes(batches, first)):
            raise DataError(words)
    except PyrovaeError as error:
        said = first_sentence(str(error))
        raise error if said == words else DataError(f"{words}. The pair stopped there: {said}") from error


def holes(batches: Batches, first: Batch) -> str:
    """In words where data have NaN or infinity, nothing where they have none.

    Arrays are looked through in chunks; of other data the first batch is looked at. Where a transform fills the
    holes they are none.
    """
    leaves = batches.leaves()
    if not leaves:
        return _words(first.leaves)
    if batches.transform is None:
        return _words(leaves)
    rows = _holed_rows(leaves)
    filled = not len(rows) or not _words(batches.peek(rows[:_TRIED]).leaves)
    return "" if filled else _words(leaves)


def _words(leaves: dict[int | str, Any]) -> str:
    return "; ".join(found for name, leaf in leaves.items() if (found := nonfinite_words(leaf, name)))


def _holed_rows(leaves: dict[int | str, Leaf]) -> torch.Tensor:
    found = [nonfinite(leaf)[2] for leaf in leaves.values() if is_floating(leaf)]
    return torch.cat([*found, torch.zeros(0).long()]).unique()


def _with_holes(batches: Batches, first: Batch) -> Iterator[Batch]:
    """Batches of the rows with holes, filled up with others to the size of a batch: some pairs take no other."""
    if not batches.leaves() or batches.batches_per_epoch == 1:
        yield first
        return
    holed, size = _holed_rows(batches.leaves()), batches.batch_size or 1
    others = torch.ones(batches.rows or 0, dtype=torch.bool).index_fill_(0, holed, False).nonzero().flatten()
    chunks = torch.cat([holed, others[: -len(holed) % size]]).split(size)
    for number in torch.linspace(0, len(chunks) - 1, min(len(chunks), _TRIED)).long().tolist():
        yield batches.peek(chunks[number])


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
    except PyrovaeError:
        raise  # it may say in words what is wrong with holes in this pair
    except Exception:
        return False  # the refusal says what is in the data


def _score(node: Any) -> torch.Tensor:
    return torch.as_tensor(scale_and_mask(node["fn"].log_prob(node["value"]), mask=node["mask"])).double().sum()


def _parameters(trace: Any) -> list[Any]:
    return [node for node in trace.nodes.values() if node["type"] == "param"]
