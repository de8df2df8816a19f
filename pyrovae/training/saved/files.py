"""The package's own files: tensors and a JSON document in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, FileError, PyrovaeError
from pyrovae.training.saved import containers, foreign
from pyrovae.training.saved.trees import RESERVED, check_storable, flatten, unflatten

# Raised when a file of this version could not be read by the code of the version before.
VERSION = 1

_FORMAT = "pyrovae"


def write(path: str | os.PathLike[str], tensors: dict[str, torch.Tensor], document: Any) -> None:
    """Write tensors and a document to one file, so that at any moment the old or the new one is whole.

    Args:
        path: where to. The folder must be there.
        tensors: by name; any device, any strides. One that is given twice is stored once.
        document: any nested value of numbers, texts, None, lists, tuples and dicts.

    Raises:
        ArgumentError: something that a file cannot hold.
        FileError: it could not be written; what was at `path` is as it was.

    Examples:
        >>> import tempfile, torch
        >>> from pyrovae.training.saved import files
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files.write(f"{folder}/a.safetensors", {"w": torch.ones(2)}, {"best": float("nan")})
        ...     files.read(f"{folder}/a.safetensors")
        ({'w': tensor([1., 1.])}, {'best': nan})
    """
    stray, skeleton = flatten(document)
    if stray:
        raise ArgumentError(f"the document holds tensors or arrays ({', '.join(stray)}); flatten it first")
    kept, aliases = _without_copies(tensors)
    text = json.dumps([VERSION, aliases, skeleton], allow_nan=False, separators=(",", ":"))
    metadata = {
        "format": _FORMAT,
        "format_version": str(VERSION),
        "digest": containers.digest(text, kept),
        "document": text,
    }
    with whole_file(path) as stream:
        for piece in containers.pieces(kept, metadata):
            stream.write(piece)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], Any]:
    """Read what `write` wrote.

    Args:
        path: the file.

    Returns:
        The tensors by name, on the CPU, and the document.

    Raises:
        FileError: it is missing, truncated, damaged, newer than this package, or something else.
    """
    path = Path(path)
    content = containers.load_bytes(path)
    kind = containers.foreign_kind(content)
    if kind and kind.executes:
        raise FileError(
            f"{path} is {kind.words}, which can execute anything when it is opened, so it is not. Where it was made, "
            "save its tensors with safetensors.torch.save_file(module.state_dict(), path)"
        )
    tensors, metadata = containers.parse(path, content)
    if metadata.get("format") != _FORMAT:
        raise FileError(f"{path} is a safetensors file, but this package did not write it: no document in it")
    return _open(path, tensors, metadata)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read the tensors of a file that may be someone else's.

    Args:
        path: a safetensors file, ours or not, a state dict of torch, or Pyro's own store file.

    Returns:
        The tensors by name, on the CPU; of Pyro's store the unconstrained values.

    Raises:
        FileError: it cannot be read, or holds anything but tensors.

    Examples:
        >>> import tempfile, torch
        >>> from pyrovae.training.saved import files
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(torch.nn.Linear(2, 1).state_dict(), f"{folder}/linear.pt")
        ...     list(files.read_tensors(f"{folder}/linear.pt"))
        ['weight', 'bias']
    """
    path = Path(path)
    content = containers.load_bytes(path)
    kind = containers.foreign_kind(content)
    if kind and kind.executes:
        return foreign.load_torch(path, content)
    tensors, metadata = containers.parse(path, content)
    return _open(path, tensors, metadata)[0] if metadata.get("format") == _FORMAT else tensors


def _open(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> Any:
    version = metadata.get("format_version", "")[:20]
    if version.isdecimal() and int(version) > VERSION:
        raise FileError(
            f"{path} has format version {version} and this pyrovae knows versions up to {VERSION}: "
            "install the newer one",
            newer=True,
        )
    text = metadata.get("document", "")
    if containers.digest(text, tensors) != metadata.get("digest"):
        raise FileError(f"{path} is damaged: its content does not match its digest; use an earlier copy")
    with strange_content(path):
        written, aliases, skeleton = json.loads(text)
        if str(written) != version:
            raise FileError(f"{path} is damaged: it says version {version} and {written}")
        for name, original in aliases.items():
            tensors[name] = tensors[original]
        return tensors, unflatten({}, skeleton)


@contextmanager
def strange_content(path: Path | None) -> Iterator[None]:
    """A document that has its digest and not its form, made by another program, is damage in words."""
    try:
        yield
    except PyrovaeError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, RecursionError) as error:
        raise FileError(f"{path} is damaged: it has not the form of a file of this package ({error!r})") from error


def _without_copies(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Contiguous CPU tensors, each once, and for every further name the name that it is stored under."""
    first: dict[Any, str] = {}
    kept, aliases = {}, {}
    for name, tensor in tensors.items():
        if name == RESERVED or not isinstance(name, str):
            raise ArgumentError(f"a tensor cannot be called {name!r} in a file")
        check_storable(tensor, f"the tensor {name!r}")
        place = _place(tensor)
        if place in first:
            aliases[name] = first[place]
            continue
        first[place] = name
        kept[name] = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return kept, aliases


def _place(tensor: torch.Tensor) -> Any:
    """Two tensors with the same place are the same numbers, and stay so when one is written to."""
    view = (tensor.dtype, tensor.device, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())
    return tensor.data_ptr(), *view
