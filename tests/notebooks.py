"""Pages of the documentation as notebooks: their prose and their code, cell by cell, without outputs.

`python tests/notebooks.py` writes `docs/notebooks/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
PAGES = ("tutorial", "from-vae-tutorial", "a-table", "bring-your-own-pair")

_CODE = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:|#|/)([^)\s]+)\)")


def notebook(text: str) -> dict[str, Any]:
    """The cells of a page, in nbformat's version 4.5."""
    cells = [
        {"cell_type": kind, "id": f"cell-{number}", **_parts(kind, source)}
        for number, (kind, source) in enumerate(_cells(text))
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cells(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    for block in _CODE.finditer(text):
        yield from _prose(text[place : block.start()])
        yield "code", block[1]
        place = block.end()
    yield from _prose(text[place:])


def _prose(text: str) -> Iterator[tuple[str, str]]:
    """Nothing, or a cell; links lead from the notebook's folder to where the page's lead."""
    if text.strip():
        yield "markdown", _LINK.sub(r"](../\1)", text)


def _parts(kind: str, source: str) -> dict[str, Any]:
    lines = source.strip().splitlines(keepends=True)
    return {"metadata": {}, "source": lines, **({"execution_count": None, "outputs": []} if kind == "code" else {})}


def written(page: str) -> str:
    """The notebook of a page, as its file holds it."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return json.dumps(notebook(text), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        (FOLDER / f"{name}.ipynb").write_text(written(name), encoding="utf-8")
