"""The HTML of a page in which a decoder runs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from pyrovae import __version__

# In the order in which one uses the other.
SCRIPTS = (
    "elements", "steps", "program", "latent_place", "answers", "pictures", "site_view", "pad", "controls", "explorer"
)  # fmt: skip

_START = 'startExplorer(document.getElementById("explorer"), JSON.parse(document.getElementById("model").textContent));'


def script(start: str = _START) -> str:
    """All files of the page's script as one, with nothing of it visible outside."""
    folder = files("pyrovae.report.explorer")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + f"\n{start}\n}})();\n"


def style() -> str:
    """The report's, and what is the page's own."""
    report = files("pyrovae.report").joinpath("page.css").read_text(encoding="utf-8")
    return report + files("pyrovae.report.explorer").joinpath("explorer.css").read_text(encoding="utf-8")


def explorer_page(found: Mapping[str, Any]) -> str:
    """The page that holds what `explored_pair` found.

    A browser lets it load nothing and run nothing but this very script: names and data are texts, whatever they hold.
    """
    code, look, title = script(), f"\n{style()}", escape(found["title"])
    policy = (
        f"default-src 'none'; script-src '{_digest(code)}'; style-src '{_digest(look)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>{title}: pyrovae</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>{look}</style>\n</head>\n<body>\n<main>\n'
        f"<header><h1>{title}</h1><p>{escape(_words(found))}</p></header>\n"
        '<div id="explorer"></div>\n<noscript><p class="verdict">The decoder runs in this page by JavaScript, which is '
        f"switched off here.</p></noscript>\n<footer>Written by pyrovae {__version__}.</footer>\n</main>\n"
        f'<script type="application/json" id="model">{_harmless(found)}</script>\n<script>{code}</script>\n'
        "</body>\n</html>\n"
    )


def _words(found: Mapping[str, Any]) -> str:
    """What the page is, in a sentence or two."""
    words = (
        f"Move a latent number, and the decoder answers. Sliders reach where the codes of {found['count']:,} rows lie."
    )
    if found["shared"]:
        names = ", ".join(found["shared"][:4]) + (", …" if len(found["shared"]) > 4 else "")
        words += f" What all rows have in common ({names}) is held at its posterior mean."
    return words


def _harmless(found: Mapping[str, Any]) -> str:
    """JSON that ends no script: a name may be `</script>`."""
    text = json.dumps(found, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
