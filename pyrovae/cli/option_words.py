"""The library's sentences in the words of the command line: options in place of arguments."""

from __future__ import annotations

import re

_PHRASES = (
    (r"size=\(height, width\)", "--size height,width"),
    (r"mode='L' \(grey\) or mode='RGB'", "--mode L (grey) or --mode RGB"),
    (r"key='\.\.\.'", "--key NAME"),
    (r"\bgive root=", "give --data-root"),
    (r"resume=True", "--resume"),
    (r"transform=torch\.bernoulli", "--scaling binary"),
    (r"temper=pv\.linear\(0, 1, steps=\.\.\.\)", "--anneal EPOCHS"),
    (r"Drop or encode these columns", "Name the columns to keep with --columns, or encode these"),
    (r"\bout='([^']*)': ", r"\1: "),
    (r"Train longer\.", "Train longer (--resume --epochs)."),
)

_ARGUMENTS = (
    r"\b(batch_size|clip_norm|columns|device|draws|epochs|key|label|learning_rate|mode|patience|seed|size|validation)="
)


def spoken(text: str) -> str:
    """A sentence as the command line says it.

    Examples:
        >>> spoken("epochs=-1; give a whole number. Stop early (patience=).")
        '--epochs -1; give a whole number. Stop early (--patience).'
    """
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    return re.sub(_ARGUMENTS + r"(?=([-\w.'(])?)", _option, text)


def _option(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')}{' ' if match[2] else ''}"
