"""Tensors from files of torch and of Pyro, read without executing anything in them."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from pyrovae.errors import FileError


def load_torch(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, or of Pyro's parameter store, that `torch.save` wrote.

    Args:
        path: where the content came from, for the words of an error.
        content: the bytes of the file.

    Returns:
        The tensors by name, on the CPU; of a store the unconstrained values.

    Raises:
        FileError: it is damaged, or holds anything but tensors.
    """
    value = _load(path, content)
    if isinstance(value, dict) and set(value) == {"params", "constraints"}:
        value = value["params"]
    if not isinstance(value, dict):
        raise FileError(f"{path} holds a {type(value).__name__}; only a dict of tensors can be read")
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, torch.Tensor) or not _plain(item):
            raise FileError(
                f"{path} holds a {type(item).__name__} under {key!r}; only a dict of tensors can be read: "
                "save its part that is one, such as torch.save(module.state_dict(), path)"
            )
    return {key: item.detach() for key, item in value.items()}


def _plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _load(path: Path, content: bytes) -> Any:
    try:
        _check_packed(path, content)
        with torch.serialization.safe_globals(_constraints()):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except FileError:
        raise
    except Exception as error:  # torch raises many kinds, all of them about this file
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {found[1]} objects beside tensors" if found else "is damaged or not a file of torch"
        raise FileError(
            f"{path} {what}; it was not opened, because a pickle can execute anything. "
            "Save a dict of tensors where the file was made: torch.save(module.state_dict(), path)"
        ) from error


def _check_packed(path: Path, content: bytes) -> None:
    """torch packs nothing, so what would unpack to more than the file is no file of torch."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > len(content):
            raise FileError(f"{path} would unpack to {size:,} bytes of its {len(content):,}; torch packs nothing")


def _constraints() -> list[Any]:
    """The classes that Pyro's store file names beside its tensors: they hold bounds and do nothing."""
    import pyro.distributions.constraints as ours
    import torch.distributions.constraints as theirs

    classes = {
        value
        for module in (ours, theirs)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, theirs.Constraint)
    }
    return sorted(classes, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
