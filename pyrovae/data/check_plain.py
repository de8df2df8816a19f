"""What stands where a file is read or written: a plain file, or something that is not what it seems."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pyrovae.errors import FileError

# Reading a pipe waits for a writer, and reading a device may never end.
_OTHERS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_plain(*paths: Path, links: bool) -> None:
    """Refuse what is neither a file nor a folder; what is not there is no fault.

    Args:
        *paths: to look at.
        links: whether a link to a file will do. In a folder that somebody else made, a link leads out of it: what is
            written there would replace a file of the owner's.

    Raises:
        FileError: a pipe, a device, a socket, or a link.
    """
    for path in paths:
        try:
            mode = (os.stat if links else os.lstat)(path).st_mode
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # shows when it is opened, with what can be done
        except (OSError, ValueError) as error:
            raise FileError(f"{path} cannot be: {getattr(error, 'strerror', None) or error}.") from error
        if stat.S_ISLNK(mode):
            raise FileError(
                f"{path} is a link to {os.readlink(path)}, and links are not followed here: put the file itself in its "
                "place, or remove the link."
            )
        for test, words in _OTHERS:
            if test(mode):
                raise FileError(f"{path} is {words}, and no plain file; put one in its place, or choose another path.")
