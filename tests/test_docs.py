"""What README and documentation show runs: the Python blocks of a page one after the other, in one namespace."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import typer
from names_page import page as names_page

from pyrovae.cli.commands import app

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
# A block, and the comment before it that names packages which need not be here: these are stood in for.
BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>[\w., ]+) -->\n+)?^```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
STAND_INS: dict[str, set[str]] = {}


def blocks(page: Path) -> list[re.Match[str]]:
    return list(BLOCK.finditer(page.read_text(encoding="utf-8")))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.mark.trial
@pytest.mark.parametrize("page", WITH_CODE, ids=named)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        for package in filter(None, (block["needs"] or "").split(", ")):
            monkeypatch.setitem(sys.modules, package, MagicMock())
        # Empty lines in front make the line numbers of a traceback those of the page.
        lines_before = text[: block.start("code")].count("\n")
        exec(compile("\n" * lines_before + block["code"], str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_packages_are_stood_in_for_only_where_expected(page: Path):
    needed = {name for block in blocks(page) for name in (block["needs"] or "").split(", ") if name}
    assert needed == STAND_INS.get(page.name, set())


def test_the_names_of_the_repository_are_those_of_the_reference():
    assert (ROOT / "docs" / "names.md").read_text(encoding="utf-8") == names_page(), "python tests/names_page.py"


def test_the_pages_that_promise_code_have_it():
    without = {"benchmarks.md", "changelog.md", "gallery.md", "index.md", "names.md", "reference.md", "styles.md"}
    assert {page.name for page in PAGES} - {page.name for page in WITH_CODE} <= without


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_within_the_project_lead_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def commands(page: Path) -> list[list[str]]:
    """The command lines of pyrovae in a page's shell blocks, in words."""
    shell = "\n".join(re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    return [line.split() for line in shell.splitlines() if line.startswith("pyrovae ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_command_lines_parse(page: Path):
    group = typer.main.get_command(app)
    for _, name, *words in commands(page):
        # Parsing alone: nothing is trained, and no file needs to be there.
        group.commands[name].make_context(name, words, resilient_parsing=False)  # pyright: ignore
