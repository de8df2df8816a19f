"""Variational autoencoders as probabilistic programs, and tools for any Pyro model/guide pair.

Names are looked up on first use, so that `import pyrovae` imports neither torch nor pyro.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

__version__ = "0.1.0"

# The one list of public names is the stub, which type checkers read too.
_STUB = (pkgutil.get_data(__name__, "__init__.pyi") or b"").decode()
_HOMES = {name: home for home, name in re.findall(r"^from ([\w.]+) import \w+ as (\w+)$", _STUB, re.MULTILINE)}

__all__ = sorted([*_HOMES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    try:  # a module that is used by its own name: pv.recipes.image_vae, pv.truth.LinearGaussian, ...
        value = importlib.import_module(f"{home}.{name}")
    except ModuleNotFoundError as missing:
        if missing.name != f"{home}.{name}":
            raise
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
