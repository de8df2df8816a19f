"""A run is a folder: config.json, metrics.jsonl, checkpoints/, model.safetensors, report.html."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyrovae import __version__
from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import file_errors, open_at_end, whole_file
from pyrovae.errors import FileError
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
        check_plain(self.config, self.metrics, self.model, self.checkpoints, self.report, links=False)

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
    def fresh(cls, path: Path) -> RunFolder:
        """A place for a new run, where nothing stands yet; nothing is made."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            again = f"`--resume --out {path}` goes on with it; or " if (path / "config.json").is_file() else ""
            raise FileError(f"{path} exists and is left as it is: {again}choose another folder with --out.")
        return cls(path)

    def read_config(self) -> dict[str, Any]:
        """The configuration, once it is known to be one of ours."""
        with _worded(self.config):
            try:
                config = json.loads(self.config.read_text(encoding="utf-8"))
            except ValueError as error:
                raise FileError(f"{self.config} is damaged: {error}.") from error
        if not isinstance(config, dict) or config.get("kind") != _KIND:
            raise FileError(f"{self.config} is the configuration of something else, not of a run of pyrovae.")
        if config["format"] > _FORMAT:
            raise FileError(f"{self.path} was made by a newer pyrovae ({config['versions']['pyrovae']}): install that.")
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the configuration, whole or not at all."""
        heading = {"kind": _KIND, "format": _FORMAT, "versions": _versions()}
        text = json.dumps({**heading, **config}, indent=2) + "\n"
        with whole_file(self.config, make_folder=True) as stream:
            stream.write(text.encode())

    def write_metrics(self, rows: Iterable[Epoch], *, mode: str = "w") -> None:
        """One JSON line an epoch; `mode="a"` adds to what is there."""
        lines = [json.dumps({k: _plain(v) for k, v in row._asdict().items()}) + "\n" for row in rows]
        opened = whole_file(self.metrics) if mode == "w" else open_at_end(self.metrics)
        with _worded(self.metrics), opened as stream:
            stream.write("".join(lines).encode())

    def read_metrics(self) -> tuple[Epoch, ...]:
        """The history; a half-written last line, of a run that was killed, is left out."""
        if not self.metrics.is_file():
            return ()
        with _worded(self.metrics):
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(_epoch(json.loads(line)))
            except (ValueError, TypeError) as error:
                if number == len(lines):
                    break
                raise FileError(f"{self.metrics}, line {number} is damaged: {error}.") from error
        return tuple(rows)

    def save(self, pair: Any) -> None:
        """Write the model."""
        weight_files.save(pair, self.model)


class Unwritten(RunFolder):
    """The folder as the others of several processes have it: the first one writes."""

    def write_config(self, config: dict[str, Any]) -> None:
        """Nothing."""

    def write_metrics(self, rows: Iterable[Epoch], *, mode: str = "w") -> None:
        """Nothing."""

    def save(self, pair: Any) -> None:
        """Nothing."""


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _epoch(document: dict[str, Any]) -> Epoch:
    always = {"loss", "elbo", "rate", "distortion", "seconds"}
    values: dict[str, Any] = {k: math.nan if v is None and k in always else v for k, v in document.items()}
    return Epoch(**values)


def _worded(path: Path) -> AbstractContextManager[None]:
    return file_errors(path, "cannot be read or written")


def _versions() -> dict[str, str]:
    names = ("torch", "pyro-ppl", "numpy")
    return {"pyrovae": __version__, "python": platform.python_version(), **{name: version(name) for name in names}}
