"""One training at a time in a folder of checkpoints: a lock that says whose it is."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
import weakref
from contextlib import suppress
from pathlib import Path

from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import file_errors
from pyrovae.errors import FileError, argument

try:
    import fcntl
except ImportError:  # Windows: the file says whose the folder is, and nothing enforces it
    fcntl = None

logger = logging.getLogger("pyrovae")

_FILE = "checkpoint.lock"

_SIGNED = 1.0  # seconds within which an owner has written its name


class FolderLock:
    """Holds a folder until it is released, or its process is gone: the system frees what a killed process held.

    The file in the folder names the owner, for people; what keeps others out is the system's own lock on it.
    """

    def __init__(self, folder: Path):
        made = not folder.exists()
        with file_errors(folder, "takes no checkpoint", f"Choose another folder for {argument('checkpoint')}."):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _acquired(folder / _FILE)
        _held.add(descriptor)
        self.release = weakref.finalize(self, _release, descriptor, folder, made, os.getpid())


def in_use(folder: Path) -> bool:
    """Whether a training has a folder, or had it when it was killed."""
    return (folder / _FILE).exists()


def _acquired(path: Path) -> int:
    """The descriptor of the locked file."""
    while True:
        check_plain(path, links=False)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _lock(descriptor, path)
            if os.fstat(descriptor).st_nlink > 1:  # a second name of somebody's file, which keeps what it has
                path.unlink(missing_ok=True)
            elif _is_at(descriptor, path):  # else its owner has just taken it away: this is no lock any more
                _sign(descriptor, path)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(
            f"{path.parent} is in use by {_owner(descriptor)}. Wait until that has ended, or choose another folder "
            f"for {argument('checkpoint')}."
        ) from None
    except OSError as error:
        logger.warning("%s cannot be locked (%s): start no second run in it.", path.parent, error.strerror or error)


def _owner(descriptor: int) -> str:
    """Who holds the lock, in words."""
    until = time.monotonic() + _SIGNED
    while (said := _signature(descriptor)) is None:
        if time.monotonic() > until:
            return "another run"
        time.sleep(0.02)
    host, number, since = said
    if (host, number) == (platform.node(), os.getpid()):
        return f"another training of this very process (since {since}); a loop over steps is left by close()"
    return f"the run of process {number} on {host}, since {since}"


def _signature(descriptor: int) -> tuple[str, int, str] | None:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return str(said["host"]), int(said["pid"]), str(said["since"])
    except (ValueError, KeyError, TypeError, OSError):
        return None


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    return False


def _sign(descriptor: int, path: Path) -> None:
    if os.fstat(descriptor).st_size:
        logger.info("%s was held by %s, which is gone.", path.parent, _owner(descriptor))
    owner = {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    with suppress(OSError):  # for people alone; that the disk is full is said of what counts
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _release(descriptor: int, folder: Path, made: bool, process: int) -> None:
    if os.getpid() != process or descriptor not in _held:  # a fork's, which holds nothing
        return
    _held.discard(descriptor)
    with suppress(OSError):
        if _is_at(descriptor, folder / _FILE):
            (folder / _FILE).unlink()
    os.close(descriptor)
    if made:
        with suppress(OSError):  # there is something in it
            folder.rmdir()


_held: set[int] = set()


def _forget_in_fork() -> None:
    """A worker that outlives its parent must not hold the folder for it."""
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_fork)
