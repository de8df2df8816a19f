"""docs/names.md: every public name in one line, as the reference groups them; for who reads the repository itself.

python tests/names_page.py   # writes it
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"

_HEAD = """# Names

Every public name in one line, by the headings of the [reference](reference.md), which shows signatures, arguments and
examples on the site that `make docs` builds; `help(pv.fit)` shows them in Python. Written by
`python tests/names_page.py`.
"""


def page() -> str:
    """What the file is to hold."""
    return "\n".join([_HEAD, *_lines((DOCS / "reference.md").read_text(encoding="utf-8"))]) + "\n"


def _lines(reference: str) -> Iterator[str]:
    listed = False
    for line in reference.splitlines():
        if line.startswith("## "):
            yield from [""] * listed
            yield from (line, "")
            listed = True
        elif line.startswith("::: "):
            name = line.removeprefix("::: ").strip()
            yield f"- `{name.removeprefix('pyrovae.')}`: {_first_sentence(name)}"


def _first_sentence(name: str) -> str:
    """Of the docstring, without the formulas of the site."""
    home, _, attribute = name.rpartition(".")
    try:
        thing = getattr(importlib.import_module(home), attribute)
    except AttributeError:
        thing = importlib.import_module(name)
    first = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return re.sub(r":\s*\\\(.*\\\)\.?$", ".", re.sub(r"\s+", " ", first).strip())


if __name__ == "__main__":
    (DOCS / "names.md").write_text(page(), encoding="utf-8")
