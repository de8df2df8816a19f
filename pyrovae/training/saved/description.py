"""Arguments and data in texts that are the same in another process."""

from __future__ import annotations

from typing import Any

from pyro.infer import ELBO
from pyro.optim.lr_scheduler import PyroLRScheduler
from pyro.optim.optim import PyroOptim

from pyrovae.data.batches import Batches
from pyrovae.data.data_digest import array_digest, data_digest
from pyrovae.staged.pair_code.user_code import is_of_library
from pyrovae.training.saved.fingerprint import fingerprint


def describe_argument(value: Any) -> str:
    """A text that is the same for the same argument in another process."""
    if isinstance(value, PyroOptim):
        made = f"{fingerprint(value.pt_optim_constructor)}({fingerprint(value.pt_optim_args)}, "
        made += f"{fingerprint(value.pt_clip_args)})"
        if not isinstance(value, PyroLRScheduler):
            return made
        return f"{fingerprint(value.pt_scheduler_constructor)}({made}, {fingerprint(value.kwargs)})"
    if isinstance(value, ELBO):
        return f"{fingerprint(type(value))}({', '.join(_settings(value))})"
    if value is None:
        return "left out"
    text = fingerprint(value)
    return text.removesuffix(".0") if isinstance(value, int | float) else text


def _settings(loss: ELBO) -> list[str]:
    """What an ELBO was given: not the depth of plates, which a pass guesses, nor what a library notes for itself."""
    own = not is_of_library(type(loss).__module__)
    held = {k: v for k, v in vars(loss).items() if k != "max_plate_nesting" and (own or not k.startswith("_"))}
    return [f"{name}={fingerprint(value)}" for name, value in sorted(held.items())]


def describe_array(array: Any) -> str:
    """Shape, type, and a digest of every number of an array or a tensor."""
    return f"{_shape(array)} {array_digest(array)}"


def _shape(array: Any) -> str:
    return f"{tuple(array.shape)} {str(array.dtype).removeprefix('torch.')}"


def describe_data(batches: Batches, *, read: int | None = None) -> dict[str, Any]:
    """How many rows and batches there are, the shape and type of each array, and a digest of all values.

    Args:
        batches: the data.
        read: of how many rows of a Dataset; left out, of as many as can be read in half a minute.
    """
    leaves = {str(name): _shape(leaf) for name, leaf in batches.leaves().items()}
    return {
        "rows": batches.rows,
        "batches": batches.batches_per_epoch,
        "leaves": leaves,
        "order": _order(batches),
        "values": list(data_digest(batches, read=read)),
    }


def _order(batches: Batches) -> str:
    """How a DataLoader cuts its batches; a user's own sampler may go through states, and is known by its name."""
    loader = getattr(batches.source, "loader", None)
    if loader is None:
        return getattr(batches.source, "order", "its own")
    kind, held = type(loader.sampler), vars(loader.sampler) if is_of_library(type(loader.sampler).__module__) else {}
    settings = {name: value for name, value in held.items() if name not in ("data_source", "generator")}
    return f"{kind.__name__}({fingerprint(settings)}), {batches.batch_size} rows, {len(batches.generators)} generators"
