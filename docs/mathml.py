"""Turn the formulas of a page into MathML when it is built, so that pages load no script from elsewhere."""

import html
import re

from latex2mathml.converter import convert

_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)


def on_page_content(content, **_):
    """Called by mkdocs with each page's HTML."""
    content = _BLOCK.sub(lambda match: convert(html.unescape(match[1]), display="block"), content)
    return _INLINE.sub(lambda match: convert(html.unescape(match[1])), content)
