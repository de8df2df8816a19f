"""The explorer as a widget of a notebook, by the same script as the page."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pyrovae.errors import ArgumentError
from pyrovae.report.explorer.explorer_page import script, style


def explorer_widget(found: Mapping[str, Any]) -> Any:
    """An `anywidget.AnyWidget` that holds what `explored_pair` found.

    Raises:
        ArgumentError: anywidget is not installed.
    """
    try:
        anywidget, traitlets = (importlib.import_module(name) for name in ("anywidget", "traitlets"))
    except ImportError as error:
        raise ArgumentError(
            "explore: without path= it is a widget of a notebook, which needs anywidget, an extra: pip install "
            f"'pyrovae[notebook]' ({error}). Or name a file: path='explorer.html'."
        ) from None
    parts = {"_esm": module(), "found": traitlets.Unicode().tag(sync=True)}
    return type("ExplorerWidget", (anywidget.AnyWidget,), parts)(found=json.dumps(found, allow_nan=False))


def module() -> str:
    """The page's script as a module that renders into a notebook's cell."""
    # In a shadow tree the rules for the page as a whole are those of its host, and no rule leaves it.
    look = style().replace(":root", ":host").replace("\nbody {", "\n:host { display: block;")
    own = files("pyrovae.report.explorer").joinpath("notebook.js").read_text(encoding="utf-8")
    return f"const LOOK = {json.dumps(look)};\nconst startExplorer = {script('return startExplorer;')}{own}"
