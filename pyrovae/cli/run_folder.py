"""A run is a folder: config.json, metrics.jsonl, checkpoints/, model.safetensors, report.html."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyrovae.cli.run_config import RunConfig, RunOutcome, checked_config, written
from pyrovae.data.check_memory import check_memory
from pyrovae.data.check_plain import check_plain
from pyrovae.data.read_as import read_as
from pyrovae.data.whole_file import file_errors, is_partial, open_at_end, remove, whole_file
from pyrovae.errors import FileError, warn_user
from pyrovae.training.epoch import Epoch
from pyrovae.training.saved import weight_files

_KIND = "pyrovae run"

# Raised when a folder of this format could not be read by the code before.
_FORMAT = 1


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.model = path / "model.safetensors"
        self.checkpoints = path / "checkpoints"
        self.report = path / "report.html"
        self.schema = path / "schema.toml"
        self.vocabulary = path / "vocabulary.toml"
        self.tensorboard = path / "tensorboard"
        files = self.config, self.metrics, self.model, self.report, self.schema, self.vocabulary
        check_plain(*files, self.checkpoints, self.tensorboard, links=False)

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """A folder that `train` made, or an error that says what there is instead."""
        if not path.exists():
            raise FileError(f"there is no run {path}. `pyrovae train DATA --out {path}` makes one.")
        if not path.is_dir():
            raise FileError(f"{path} is a file; a run is a folder that `pyrovae train` made.")
        folder = cls(path)
        if not folder.config.is_file():
            raise FileError(f"{path} is not a run: it holds no config.json. `pyrovae train` makes runs.")
        return folder

    @classmethod
    def unbegun(cls, path: Path) -> bool:
        """Whether a folder holds nothing, or what a training that was killed at its very start has left."""
        inside = [*path.iterdir()] if path.is_dir() else [path]
        if (path / "checkpoints") in inside and not (path / "checkpoints").is_symlink():
            inside.remove(path / "checkpoints")
            inside += (path / "checkpoints").glob("*")
        return all(one.name == "checkpoint.lock" or is_partial(one) for one in inside)

    @classmethod
    def fresh(cls, path: Path) -> RunFolder:
        """A place for a new run, where nothing stands yet; nothing is made."""
        if path.exists() and not cls.unbegun(path):
            again = f"`--resume --out {path}` goes on with it; or " if (path / "config.json").is_file() else ""
            raise FileError(f"{path} exists and is left as it is: {again}choose another folder with --out.")
        return cls(path)

    def read_config(self) -> RunConfig:
        """The configuration, once it is known to be one of ours."""
        with _worded(self.config):
            content = self.config.read_bytes()
        return checked_config(self.config, content, kind=_KIND, newest=_FORMAT)

    def write_config(self, config: RunConfig) -> None:
        """Write the configuration, whole or not at all."""
        with whole_file(self.config, make_folder=True) as stream:
            stream.write(written(config, kind=_KIND, newest=_FORMAT))
        if config.table and not self.schema.exists():  # to be looked at: the run goes by its configuration
            with whole_file(self.schema) as stream:
                stream.write(config.table.schema.encode())
        if config.text and not self.vocabulary.exists():
            with whole_file(self.vocabulary) as stream:
                stream.write(config.text.vocabulary.encode())

    def write_metrics(self, rows: Iterable[Epoch], *, mode: str = "w") -> None:
        """One JSON line an epoch; `mode="a"` adds to what is there."""
        lines = [json.dumps({k: _plain(v) for k, v in row._asdict().items()}) + "\n" for row in rows]
        opened = whole_file if mode == "w" else open_at_end
        with _worded(self.metrics), opened(self.metrics) as stream:
            stream.write("".join(lines).encode())

    def read_metrics(self, written: str | None = None) -> tuple[Epoch, ...]:
        """The history; a damaged line is left out, and named where it is not the half line of a run that was killed.

        Args:
            written: the digest of what the training has written, where that is known.
        """
        if not self.metrics.is_file():
            return ()
        if written not in (None, self.digest(self.metrics)):
            words = f"{self.metrics} is not as the training has left it: its curves may be of another run."
            warn_user(words)
        with _worded(self.metrics):
            check_memory(
                8 * self.metrics.stat().st_size, str(self.metrics), "It is no history of a training: remove it."
            )
            lines = self.metrics.read_bytes().splitlines(keepends=True)
        rows, damaged = [], []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(_epoch(json.loads(line), f"line {number}"))
            except (FileError, ValueError, RecursionError):
                damaged += [number] if number < len(lines) or line.endswith(b"\n") else []
        if damaged:
            few = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
            words = f"{self.metrics}: {len(damaged)} damaged lines are left out of the history ({few})."
            warn_user(words)
        return tuple(rows)

    def forget(self, *, whole: bool) -> None:
        """Remove what a training has written before there was a checkpoint, and with `whole` the folder, too."""
        own = (self.checkpoints / name for name in ("checkpoint-history.jsonl", "checkpoint.lock"))
        events = self.tensorboard.glob("events.out.tfevents.*")
        for path in (self.config, self.metrics, self.schema, self.vocabulary, *own, *events):
            remove(path)
        for folder in (self.checkpoints, self.tensorboard, *([self.path] if whole else [])):
            with suppress(OSError):  # somebody else's things in it stay
                folder.rmdir()

    def save(self, pair: Any, outcome: RunOutcome) -> RunOutcome:
        """Write the model; digests of it and of the history, by which config.json knows its own, join the outcome."""
        weight_files.save(pair, self.model)
        return replace(outcome, model=self.digest(self.model), history=self.digest(self.metrics))

    @staticmethod
    def digest(path: Path) -> str | None:
        """Of the bytes of a file; None where it is not there."""
        if not path.is_file():
            return None
        with _worded(path), path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


class Unwritten(RunFolder):
    """The folder as the others of several processes have it: the first one writes."""

    def write_config(self, config: RunConfig) -> None:
        """Write nothing; the first process does."""

    def write_metrics(self, rows: Iterable[Epoch], *, mode: str = "w") -> None:
        """Write nothing; the first process does."""

    def forget(self, *, whole: bool) -> None:
        """Forget nothing; the first process does."""

    def save(self, pair: Any, outcome: RunOutcome) -> RunOutcome:
        """Write nothing; the first process does."""
        return outcome


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Never left out: what has no value there was not finite.
_ALWAYS = ("loss", "elbo", "rate", "distortion", "weight", "learning_rate", "seconds")


def _epoch(document: Any, where: str) -> Epoch:
    if not isinstance(document, dict):
        raise FileError(f"{where} is no row.")
    lost = [name for name in _ALWAYS if name in document and document[name] is None]
    row = read_as(Epoch, {**document, **dict.fromkeys(lost, 0.0)}, where)
    return row._replace(**dict.fromkeys(lost, math.nan))


def _worded(path: Path) -> AbstractContextManager[None]:
    return file_errors(path, "cannot be read or written")
