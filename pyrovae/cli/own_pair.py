"""A pair of the user's own, named as module:function or path/to/file.py:function."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pyrovae.errors import ArgumentError, PairError, PyrovaeError
from pyrovae.pairs.pair import HasPair


def make_pair(name: str) -> HasPair:
    """Import the module and call the function.

    Only what the user wrote on the command line comes here, never what a file says.
    """
    module_name, _, function_name = name.rpartition(":")
    if not module_name or not function_name:
        raise ArgumentError(f"--pair {name}: write module:function, or path/to/file.py:function.")
    module = _from_file(Path(module_name)) if module_name.endswith(".py") else _from_name(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        names = ", ".join(n for n, thing in vars(module).items() if callable(thing) and n[0] != "_")
        raise ArgumentError(f"--pair {name}: {module_name} has no function {function_name!r}; it has {names}.")
    return _called(function, name)


def _called(function: Any, name: str) -> HasPair:
    try:
        pair = function()
    except PyrovaeError:
        raise
    except Exception as error:
        raise PairError(f"--pair {name}: the function raised {type(error).__name__}: {error}") from error
    if not isinstance(pair, HasPair):
        raise PairError(
            f"--pair {name}: the function returned {type(pair).__name__}, which has no .model and .guide; "
            "return pv.Pair(model, guide), or an object that has both."
        )
    return pair


def _from_name(name: str) -> ModuleType:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:  # as `python -m` does; an installed program does not look there by itself
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] and error.name != name:
            raise ArgumentError(f"--pair: {name} needs a module that is not installed: {error.name}.") from error
        raise ArgumentError(
            f"--pair: there is no module {name!r} in this folder or among those installed. "
            "A file elsewhere is named by its path: path/to/file.py:function."
        ) from error
    except Exception as error:
        raise PairError(f"--pair: importing {name} raised {type(error).__name__}: {error}") from error
    finally:
        if added:
            sys.path.remove(here)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArgumentError(f"--pair: there is no file {path}.")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None  # a path that ends in .py has both
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # what lies beside the file can be imported by it
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise PairError(f"--pair: running {path} raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module
