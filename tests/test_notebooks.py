"""The notebooks of the documentation: what their pages say, valid, and run from the first cell to the last."""

from __future__ import annotations

import os

import nbformat
import pytest
from nbclient import NotebookClient
from notebooks import FOLDER, PAGES, notebook, written


def test_they_are_their_pages():
    """Where one is not: `python tests/notebooks.py`."""
    assert {path.stem for path in FOLDER.glob("*")} == set(PAGES)
    for page in PAGES:
        assert (FOLDER / f"{page}.ipynb").read_text(encoding="utf-8") == written(page), page


@pytest.mark.parametrize("page", PAGES)
def test_they_open_in_jupyter(page):
    nbformat.validate(nbformat.reads(written(page), as_version=4))


def test_cells_are_prose_and_code_in_turn_with_links_to_where_they_led():
    prose = "# A\n\n[b](b.md), [c](https://c.org), ![d](images/d.svg)\n\n"
    text = f"{prose}```python\nx = 1\n\ny = x\n```\n\n```bash\nls\n```\n"
    first, code, last = notebook(text)["cells"]
    assert "".join(first["source"]) == "# A\n\n[b](../b.md), [c](https://c.org), ![d](../images/d.svg)"
    assert "".join(code["source"]) == "x = 1\n\ny = x"
    assert (first["cell_type"], code["cell_type"], last["cell_type"]) == ("markdown", "code", "markdown")
    assert "".join(last["source"]) == "```bash\nls\n```"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_they_run(page, tmp_path):
    """In a kernel of their own, as in Jupyter: `test_docs.py` runs the code of the pages, and this the notebook."""
    opened = nbformat.reads(written(page), as_version=4)
    kernel = {**os.environ, "MPLBACKEND": "agg", "JUPYTER_PLATFORM_DIRS": "1"}
    NotebookClient(opened, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute(env=kernel)
    ran = [cell for cell in opened.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)
