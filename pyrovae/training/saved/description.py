"""What a run is, in texts that are the same in another process: its arguments and its data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro.infer import ELBO
from pyro.optim.optim import PyroOptim

from pyrovae.data.batches import Batches
from pyrovae.errors import ArgumentError
from pyrovae.training.saved.fingerprint import fingerprint

# Rows whose bytes stand for a data set: all of a small one, evenly spread ones of a large one.
_SAMPLED_ROWS = 1_024


def describe_argument(value: Any) -> str:
    """A text that is the same for the same argument in another process."""
    if isinstance(value, PyroOptim):
        constructor: Any = getattr(value, "pt_scheduler_constructor", value.pt_optim_constructor)
        return f"{constructor.__name__}({fingerprint(value.pt_optim_args)}, {fingerprint(value.pt_clip_args)})"
    if isinstance(value, ELBO):
        # The depth of plates is guessed by the first pass, and is no setting.
        settings = {k: v for k, v in vars(value).items() if k != "max_plate_nesting" and not k.startswith("_")}
        return f"{type(value).__name__}({', '.join(f'{k}={fingerprint(v)}' for k, v in sorted(settings.items()))})"
    if value is None:
        return "left out"
    text = fingerprint(value)
    return text.removesuffix(".0") if isinstance(value, int | float) else text


def describe_data(batches: Batches) -> dict[str, Any]:
    """How many rows and batches there are, and what describes each array."""
    leaves = {str(name): describe_array(leaf) for name, leaf in batches.leaves().items()}
    first = batches.first(2) if batches.repeatable() else None
    values = None if first is None else [_digest(leaf.cpu()) for leaf in first.leaves.values()]
    return {"rows": batches.rows, "batches": batches.batches_per_epoch, "leaves": leaves, "first": values}


def describe_array(array: Any) -> str:
    """Shape, type, and a digest of rows spread over an array or a tensor."""
    rows = np.unique(np.linspace(0, len(array) - 1, min(len(array), _SAMPLED_ROWS)).astype(int))
    part = array[torch.as_tensor(rows)].cpu() if isinstance(array, torch.Tensor) else array[rows]
    return f"{tuple(array.shape)} {array.dtype} {_digest(part)}"


def _digest(part: Any) -> str:
    array = np.ascontiguousarray(part.view(torch.uint8) if _is_half(part) else part)
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def _is_half(part: Any) -> bool:
    """numpy has no bfloat16; its bytes will do."""
    return isinstance(part, torch.Tensor) and part.dtype == torch.bfloat16


_COMPARED = {"data": "the data", "validation": "the validation data", "types": "the parameters' types"}


def check_the_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other arguments, data or parameters.

    Raises:
        ArgumentError: what differs, by name.
    """
    for name, value in now["arguments"].items():
        old = before["arguments"].get(name)
        if old != value:
            raise ArgumentError(
                f"{name} was {old} in the run of {path} and is {value} now; a run is resumed with the same arguments "
                "(epochs and steps may grow). Use the old value, or start a run of its own in another folder."
            )
    for name, words in _COMPARED.items():
        if before.get(name) != now[name]:
            raise ArgumentError(
                f"{words} of the run of {path} were {before[name]} and are {now[name]} now; "
                "resume with the same data, or start a run of its own in another folder."
            )
