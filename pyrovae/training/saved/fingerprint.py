"""A text that tells whether a function or a setting of one run is that of another run."""

from __future__ import annotations

import functools
import hashlib
import inspect
import numbers
import re
import types
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def fingerprint(value: Any) -> str:
    """A text that is the same in two processes exactly when the setting is, as far as can be seen.

    Numbers and schedules give their value; a function gives its name and a hash of its code, of its
    defaults and of the plain numbers it refers to. Two versions of Python compile to different code.

    Args:
        value: a number, a schedule, a dict or a sequence of them, a function, or any object.

    Returns:
        A short text.

    Examples:
        >>> import pyrovae as pv
        >>> from pyrovae.training.saved.fingerprint import fingerprint
        >>> fingerprint(1) == fingerprint(1.0), fingerprint(pv.linear(0, 1, steps=10))
        (True, 'linear(0.0, 1.0, steps=10)')
        >>> fingerprint(lambda step: step / 2) == fingerprint(lambda step: step / 3)
        False
    """
    if isinstance(value, dict):
        entries = sorted(f"{fingerprint(key)}: {fingerprint(item)}" for key, item in value.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list | tuple):
        return f"({', '.join(fingerprint(item) for item in value)})"
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return repr(float(value))
    if isinstance(value, functools.partial):
        return f"partial{fingerprint((value.func, value.args, value.keywords))}"
    if isinstance(value, types.MethodType):
        return f"{fingerprint(value.__self__)}.{fingerprint(value.__func__)}"
    if isinstance(value, types.FunctionType):
        return _function(value)
    return _object(value)


def _object(value: Any) -> str:
    """What the object says of itself, unless that is only where it lies in memory."""
    text = repr(value)
    if not _ADDRESS.search(text):
        return text
    kind = type(value)
    call = vars(kind).get("__call__")
    code = _function(call) if isinstance(call, types.FunctionType) else ""
    return f"{kind.__qualname__}({_plain(vars(value) if hasattr(value, '__dict__') else {})}){code}"


def _function(function: types.FunctionType) -> str:
    # The name without its module: `python train.py` and `import train` mean the same function.
    text = ";".join(
        (
            _code(function.__code__),
            _plain(dict(enumerate(function.__defaults__ or ()))),
            _plain(function.__kwdefaults__ or {}),
            _plain(_references(function)),
        )
    )
    return f"{function.__qualname__}#{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"


def _references(function: types.FunctionType) -> dict[str, Any]:
    try:
        found = inspect.getclosurevars(function)
    except ValueError:  # a cell that is still empty
        return {}
    return {**found.globals, **found.nonlocals}


def _plain(values: dict[Any, Any]) -> str:
    """Numbers, texts and schedules in full; of anything else only what kind of thing it is.

    A module or an array that a function refers to would change its text for no reason, or take long.
    """
    return ",".join(f"{name}={_brief(value)}" for name, value in sorted(values.items(), key=lambda i: str(i[0])))


def _brief(value: Any) -> str:
    if isinstance(value, str | numbers.Real | None):
        return repr(value)
    if isinstance(value, types.FunctionType):
        return value.__qualname__ + _code(value.__code__)
    own = type(value).__module__.startswith("pyrovae.")
    return repr(value) if own else type(value).__qualname__


def _code(code: types.CodeType) -> str:
    constants = ",".join(map(_constant, code.co_consts))
    return f"{code.co_code.hex()}:{code.co_names}:{code.co_varnames}:[{constants}]"


def _constant(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return _code(value)
    if isinstance(value, frozenset):  # its order follows the hash seed of the process
        return f"{{{','.join(sorted(map(_constant, value)))}}}"
    if isinstance(value, tuple):
        return f"({','.join(map(_constant, value))})"
    return repr(value)
