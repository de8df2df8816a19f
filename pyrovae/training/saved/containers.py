"""The bytes of a safetensors file: a length, a JSON header, the tensors one after another."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError

from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.errors import FileError
from pyrovae.training.saved.trees import DTYPES, RESERVED

# What other files begin with, and how to call them.
_BEGINNINGS = (
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PAR1", "a Parquet file"),
)


def raw(tensor: torch.Tensor) -> Any:
    """The bytes of a contiguous CPU tensor, as an array that shares its memory."""
    # Not reshape: a dimension of 0 or 1 may have any stride, which view refuses.
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy()


def digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """A hash over a text and every name, type, shape and byte of the tensors."""
    state = hashlib.sha256(json.dumps(text).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(json.dumps([name, DTYPES.get(tensor.dtype), list(tensor.shape)]).encode())
        state.update(raw(tensor))
    return state.hexdigest()


def pieces(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> Iterator[Any]:
    """What to write, in order.

    Wide types come first and the header is filled up with spaces, so that every tensor lies aligned.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {RESERVED: metadata}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        entry = {"dtype": DTYPES[tensors[name].dtype], "shape": list(tensors[name].shape)}
        header[name] = {**entry, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    yield from (raw(tensors[name]) for name in names)


def load_bytes(path: Path) -> bytes:
    """The content of a file, or in words why there is none."""
    check_plain(path, links=True)
    try:
        check_memory(2 * path.stat().st_size, str(path), "A machine with more memory can read it.")
        return path.read_bytes()
    except FileError:
        raise
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file; {_neighbours(path)}") from None
    except IsADirectoryError:
        raise FileError(f"{path} is a folder; name a file in it: {_neighbours(path / 'x')}") from None
    except OSError as error:
        kind = "is a folder" if path.is_dir() else "cannot be read"
        raise FileError(f"{path} {kind}: {error.strerror or error}") from error


def parse(path: Path, content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; anything else is an error that names it."""
    kind = foreign_kind(content)
    if kind:
        raise FileError(f"{path} is {kind.words}, not a safetensors file")
    size = 8 + int.from_bytes(content[:8], "little")
    if len(content) < size:
        raise FileError(f"{path} is truncated: it has {len(content)} bytes and its header alone needs {size}")
    try:
        header = json.loads(content[8:size])
        needed = size + max((entry["data_offsets"][1] for entry in _entries(header)), default=0)
        if len(content) < needed:
            raise FileError(f"{path} is truncated: {len(content)} bytes of {needed} are there")
        return safetensors.torch.load(content), dict(header.get(RESERVED, {}))
    except FileError:
        raise
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise FileError(f"{path} is damaged: {error}") from error


class ForeignKind(NamedTuple):
    """What a file is that is no safetensors file, and whether opening it could execute anything."""

    words: str
    executes: bool = False


def foreign_kind(content: bytes) -> ForeignKind | None:
    """What the file is where it is not a safetensors file; None where it may be one.

    A safetensors header begins with a brace, eight bytes in; its length can look like the start of a pickle.
    """
    if len(content) < 9:
        return ForeignKind(f"truncated to {len(content)} bytes")
    if content[8:9] == b"{":
        return None
    if content.startswith(b"PK\x03\x04"):
        return _archive_kind(content)
    if content[0] == 0x80 and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return ForeignKind("a pickle", executes=True)
    for beginning, words in _BEGINNINGS:
        if content.startswith(beginning):
            return ForeignKind(words)
    return ForeignKind("something else")


def _archive_kind(content: bytes) -> ForeignKind:
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except Exception:  # zipfile raises many kinds, all of them about this file
        return ForeignKind("a truncated zip archive")
    if any(name.endswith("data.pkl") for name in names):
        return ForeignKind("a pickle (made by torch.save)", executes=True)
    return ForeignKind("a numpy archive (.npz)" if any(name.endswith(".npy") for name in names) else "a zip archive")


def _entries(header: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for name, entry in header.items() if name != RESERVED]


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"nor is there a folder {folder}"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"the folder {folder} holds {', '.join(names[:8]) + more if names else 'nothing'}"
