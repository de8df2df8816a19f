"""The page of the documentation that says what becomes of each style; what it says is what the trial holds.

`python tests/styles/write_page.py` writes `docs/styles.md`.
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "styles.md"

HEAD = """# Styles of pair

Pairs after Pyro's own documentation, one for each style there, run through training and every figure. Beside each
stands what plain Pyro says of the same pair: an `SVI` loop over the same batches, and draws of the guide with the model
replayed against them, one by one, or the closed form where there is one. *Right* means equal within the standard error.
*Refused* is a `PyrovaeError` that names the reason; the numbers lead to it. There is no third kind: what is neither is
a defect, and fails the trial that this page is made by (`tests/styles`).

"""


def page(styles) -> str:
    """The page, from what the styles declare."""
    from styles.style import FUNCTIONS

    notes: dict[str, int] = {}

    def cell(reason: str | None) -> str:
        return "right" if reason is None else f"refused ({notes.setdefault(reason, len(notes) + 1)})"

    rows = []
    for style in styles:
        reasons = [style.refused[name][1] if name in style.refused else None for name in ("fit", *FUNCTIONS)]
        graph = "as a graph" if style.route[0] == "traced" else f"by Pyro ({_note(notes, style.route[1])})"
        graph = "" if reasons[0] else graph
        rows.append(f"| {style.name} | {' | '.join([cell(reasons[0]), graph, *map(cell, reasons[1:])])} |")
    titles = ["style", "`fit`", "its steps", *(f"`{name}`" for name in FUNCTIONS)]
    table = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *rows]
    listed = [f"{number}. {reason[0].upper()}{reason[1:]}." for reason, number in notes.items()]
    return f"{HEAD}{_sums(styles)}\n\n" + "\n".join(table) + "\n\n## Reasons\n\n" + "\n".join(listed) + "\n"


def _note(notes: dict[str, int], reason: str) -> int:
    return notes.setdefault(reason, len(notes) + 1)


def _sums(styles) -> str:
    from styles.style import FUNCTIONS

    styles = list(styles)
    trained = sum("fit" not in style.refused for style in styles)
    graphs = sum(style.route[0] == "traced" and "fit" not in style.refused for style in styles)
    cells = len(styles) * len(FUNCTIONS)
    right = cells - sum(name in style.refused for style in styles for name in FUNCTIONS)
    return (
        f"{len(styles)} styles; {trained} train as a plain loop does, {graphs} of them also as a graph without Pyro "
        f"(`staged`); of {cells} figures {right} are right ({right / cells:.0%}) and {cells - right} refused."
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from styles import STYLES

    PAGE.write_text(page(STYLES.values()), encoding="utf-8")
