"""Files of a training that can go on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import remove_partial
from pyrovae.errors import FileError, argument, warn_user
from pyrovae.training.saved import files, trees
from pyrovae.training.saved.weight_files import of_weights

_NAME = re.compile(r"checkpoint-(\d+)\.safetensors$")

# Two: the newest, and the one before it for the case that the newest is damaged.
_KEPT = 2


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file; checkpoint= takes a folder.")
    named = [(int(m.group(1)), path) for path in folder.glob("checkpoint-*") if (m := _NAME.search(path.name))]
    paths = [path for _, path in sorted(named, reverse=True)]
    check_plain(*paths, links=False)
    return paths


def write_checkpoint(
    folder: Path, step: int, weights: Mapping[str, torch.Tensor], tree: Any, document: dict[str, Any]
) -> Path:
    """Write one checkpoint and drop all but the newest ones; returns its path."""
    tensors, skeleton = trees.flatten(tree)
    content = {f"weights.{name}": tensor.detach() for name, tensor in weights.items()}
    content |= {f"state.{name}": tensor for name, tensor in tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{folder} cannot be made: {error.strerror}. Choose another folder for {argument('checkpoint')}."
        ) from error
    path = folder / f"checkpoint-{step:010d}.safetensors"
    files.write(path, content, {"kind": "checkpoint", "state": skeleton, **document})
    # Later ones than this belong to something else, a damaged run perhaps: they are left as they are.
    earlier = [old for old in checkpoints_in(folder) if old.name < path.name]
    for old in earlier[_KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return path


def identity(document: Mapping[str, Any]) -> str:
    """A digest of the seed, the arguments, the data and the pair of a run, which its checkpoints have in common."""
    text = json.dumps([document["seed"], document["run"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def identity_of(path: Path) -> str:
    """The same of the run that a checkpoint is of."""
    return identity(_content(path)[3])


Content = tuple[Path, dict[str, torch.Tensor], Any, dict[str, Any]]


def newest_checkpoint(folder: Path, *, alone: bool = True) -> Content | None:
    """The newest sound checkpoint as (path, weights, state, document); None where there is none.

    A damaged one is named in a warning, and the one before it is used.

    Args:
        folder: where they are.
        alone: whether nobody else writes there, so that what is half-written is nobody's.

    Raises:
        FileError: all are damaged; a start afresh would write over them.
    """
    remove_partial(folder) if alone and folder.is_dir() else None
    damaged = []
    for path in checkpoints_in(folder):
        try:
            content = _content(path)
        except FileError as error:
            if error.newer:
                raise
            damaged.append(str(error).rstrip("."))
            continue
        for words in damaged:
            warn_user(f"{words}. The checkpoint before it is used.")
        return content
    if damaged:
        raise FileError(f"{'; '.join(damaged)}. There is no other checkpoint to go on from: choose another folder.")
    return None


def _content(path: Path) -> Content:
    tensors, document = files.read(path)
    with files.strange_content(path):
        weights, _ = of_weights(tensors, document)
        states = {n.removeprefix("state."): t for n, t in tensors.items() if n.startswith("state.")}
        if type(document["seed"]) is not int or not isinstance(document["run"]["data"], dict):
            raise TypeError("seed or data")
        return path, weights, trees.unflatten(states, document["state"]), document
