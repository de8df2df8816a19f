"""The table of speed in the README says what the benchmarks' page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


ROWS = [
    cells(line)
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| (VAE 784|convolutional|`count_vae`|a deep Markov)", line)
]

# The row of the README -> the heading or the row of the page, and what the page calls the contestants.
TABLES = {"VAE 784-400-20": "| medium:", "VAE 784-128-32": "| small:", "convolutional": "| convolutional, 28x28"}
NAMES = ("SVI", "torch, compiled", "pyrovae, plain", "pyrovae, compiled")


def of_page(name: str) -> list[str]:
    for start, heading in TABLES.items():
        if name.startswith(start):
            table = BENCHMARKS[BENCHMARKS.index(heading) :].split("\n\n")[0]
            found = dict(cells(line)[:2] for line in table.splitlines()[2:])
            return [f"{float(found[one]):.2f}" for one in NAMES]
    start = "| `count_vae`, 500 columns, 256 |" if "count_vae" in name else "| deep Markov model by masks, 30 times"
    line = BENCHMARKS[BENCHMARKS.rindex(start) :].splitlines()[0]
    _, svi, plain, traced, compiled = cells(line)[:5]
    return [svi, "", plain, compiled or f"{traced}, traced"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_readme_has_the_figures_of_the_page(row):
    assert row[1:] == of_page(row[0])


def test_all_rows_were_found():
    assert len(ROWS) == 5
