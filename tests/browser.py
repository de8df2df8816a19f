"""Pages in a headless Chromium, as Debian's packages have it, and their script in Node: skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
NODE = shutil.which("node") or shutil.which("nodejs")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
needs_node = pytest.mark.skipif(NODE is None, reason="no node: apt-get install nodejs")

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")


def chromium(*options: str, page: Path, folder: Path) -> str:
    """What Chromium writes about a page, with a profile of its own."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def asked(page: Path, folder: Path, code: str, *, waiting: bool = False) -> Any:
    """What a function body gives that is run in a page, where `explorer` is what the page has started.

    Its time is that of a clock, or, where it waits for something, time that passes at once.

    The page's own policy would let no other script run: it is taken out here, and tested elsewhere.
    """
    text = page.read_text()
    text = re.sub(r"<meta http-equiv=[^>]*>", "", text).replace(
        "startExplorer(document", "self.explorer = startExplorer(document"
    )
    harness = (
        "<script>(async () => { let found; try { found = { is: await (async () => {"
        + code
        + "})() }; } catch (error) { "
        "found = { error: String(error) }; } const pre = document.createElement('pre'); pre.id = 'found'; "
        "pre.textContent = JSON.stringify(found); document.body.append(pre); })();</script>"
    )
    other = folder / "asked.html"
    other.write_text(text.replace("</body>", f"{harness}</body>"))
    time = "--virtual-time-budget=10000" if waiting else "--timeout=20000"
    for _ in range(3):  # on a busy machine the browser may dump a page before it has drawn a frame
        dumped = chromium("--dump-dom", time, page=other, folder=folder)
        if '<pre id="found">' in dumped:
            break
    found = json.loads(unescape(dumped.split('<pre id="found">')[1].split("</pre>")[0]))
    assert "error" not in found, found
    return found["is"]


def node(code: str, given: Any) -> Any:
    """What a program prints that finds `given` in its input."""
    assert NODE is not None
    program = f"const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n{code}"
    done = subprocess.run([NODE, "-e", program], input=json.dumps(given), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
