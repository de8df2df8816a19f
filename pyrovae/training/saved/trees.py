"""Nested plain values and tensors, taken apart into named tensors and a skeleton that JSON can hold."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch

from pyrovae.errors import ArgumentError

# What safetensors has a name for. Anything else has no home in a file.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

# The header of a safetensors file keeps this name for itself.
RESERVED = "__metadata__"


def flatten(tree: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Take a nested value apart.

    Dicts with text or whole-number keys, lists, tuples, None, booleans, numbers (NaN and infinity too),
    texts, tensors, numpy arrays and numpy scalars come back from `unflatten` as what they were.

    Args:
        tree: the value.

    Returns:
        The tensors by name (the path in the tree, with dots), and the rest as a value that JSON can hold.

    Raises:
        ArgumentError: something else is in the tree; the message names its path.

    Examples:
        >>> import torch
        >>> tensors, skeleton = flatten({"step": 3, "moments": (torch.ones(2), float("inf"))})
        >>> list(tensors), skeleton
        (['moments.0'], {'step': 3, 'moments': {'$tuple': [{'$tensor': 'moments.0'}, {'$float': 'inf'}]}})
        >>> unflatten(tensors, skeleton)
        {'step': 3, 'moments': (tensor([1., 1.]), inf)}
    """
    tensors: dict[str, torch.Tensor] = {}
    return tensors, _take_apart(tree, (), tensors)


def unflatten(tensors: dict[str, torch.Tensor], skeleton: Any) -> Any:
    """Put together what `flatten` took apart.

    Args:
        tensors: the tensors by name; more than the skeleton asks for are left out.
        skeleton: as `flatten` returned it, or after a way through JSON.

    Returns:
        The nested value.
    """
    if isinstance(skeleton, list):
        return [unflatten(tensors, item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    tag, content = next(iter(skeleton.items()), ("", None))
    if not tag.startswith("$"):
        return {key: unflatten(tensors, item) for key, item in skeleton.items()}
    return _BUILDERS[tag](tensors, content)


_BUILDERS = {
    "$float": lambda tensors, text: float(text),
    "$tuple": lambda tensors, items: tuple(unflatten(tensors, item) for item in items),
    "$dict": lambda tensors, items: {key: unflatten(tensors, item) for key, item in items},
    "$tensor": lambda tensors, name: tensors[name],
    "$array": lambda tensors, name: tensors[name].numpy(),
    "$scalar": lambda tensors, name: tensors[name].numpy()[()],
}


def _take_apart(value: Any, path: tuple[str | int, ...], tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return {"$tensor": _keep(value, path, tensors)}
    if isinstance(value, np.ndarray | np.generic):  # before float: np.float64 is one
        kind = "$array" if isinstance(value, np.ndarray) else "$scalar"
        return {kind: _keep(_as_tensor(value, path), path, tensors)}
    if isinstance(value, dict):
        return _take_dict_apart(value, path, tensors)
    if isinstance(value, list | tuple):
        items = [_take_apart(item, (*path, index), tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(float(value))}
    if isinstance(value, str | bool | int | float | None):
        return value
    raise ArgumentError(
        f"{_words(path)} is {_article(value)}, which a file cannot hold; "
        "it can be a number, a text, None, a tensor, an array, or a dict, list or tuple of those"
    )


def _take_dict_apart(value: dict, path: tuple[str | int, ...], tensors: dict[str, torch.Tensor]) -> Any:
    for key in value:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ArgumentError(
                f"{_words(path)} has the key {key!r}; a file can hold keys that are texts or whole numbers"
            )
    items = {key: _take_apart(item, (*path, key), tensors) for key, item in value.items()}
    plain = all(isinstance(key, str) and not key.startswith("$") for key in items)
    return items if plain else {"$dict": [[key, item] for key, item in items.items()]}


def _as_tensor(value: Any, path: tuple[str | int, ...]) -> torch.Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc" or array.dtype.char in "gG":  # g and G are long doubles
        raise ArgumentError(f"{_words(path)} is an array of {array.dtype}, which a file cannot hold")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _keep(tensor: torch.Tensor, path: tuple[str | int, ...], tensors: dict[str, torch.Tensor]) -> str:
    check_storable(tensor, _words(path))
    base = ".".join(str(key) for key in path).encode("ascii", "backslashreplace").decode() or "value"
    name, count = base, 1
    while name in tensors or name == RESERVED:
        count += 1
        name = f"{base}#{count}"
    tensors[name] = tensor
    return name


def check_storable(tensor: torch.Tensor, words: str) -> None:
    """Refuse a tensor without plain values behind it, or of a type that safetensors has no name for."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else "sparse"
        raise ArgumentError(f"{words} is a {kind} tensor; give a dense one with values, such as .to_dense()")
    if tensor.dtype not in DTYPES:
        raise ArgumentError(f"{words} is a tensor of {tensor.dtype}, which a file cannot hold; convert it")


def _words(path: tuple[str | int, ...]) -> str:
    return "the value" + "".join(f"[{key!r}]" for key in path)


def _article(value: Any) -> str:
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    return f"a {type(value).__qualname__}, {text if len(text) <= 60 else text[:57] + '...'}"
