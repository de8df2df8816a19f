"""Lines of text from a file."""

from __future__ import annotations

import codecs
import logging
import os

from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.data.datasets.array_files import existing
from pyrovae.errors import DataError, FileError

logger = logging.getLogger("pyrovae")


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    r"""The lines of a text file in UTF-8, without white space at their ends; blank ones are left out, as the log says.

    Args:
        path: the file.

    Raises:
        FileError: it is not there, or not UTF-8: the words say in which line.
        DataError: it has no line that is not blank.

    Examples:
        >>> import pathlib, tempfile, pyrovae as pv
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lines.txt"
        >>> _ = path.write_text("a cat\n\na dog\n")
        >>> pv.text.read_lines(path)
        ['a cat', 'a dog']
    """
    place = existing(path)
    check_plain(place, links=True)
    check_memory(3 * place.stat().st_size, f"the text of {place}", "Take fewer lines.")
    content = place.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        name, code = ("UTF-16, as its first bytes say,", "utf-16") if wide else ("Latin-1", "latin1")
        raise FileError(
            f"{place} is not UTF-8: line {line} holds the byte 0x{content[error.start]:02x}, which means nothing. "
            f"Convert it, of {name} by: iconv -f {code} -t utf-8 {place.name}"
        ) from None
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line]
    if not found:
        raise DataError(f"{place} has no line that is not blank: there is nothing to read.")
    if blank := len(lines) - len(found):
        logger.info("%s: %d of %d lines are blank, and left out", place, blank, len(lines))
    return found
