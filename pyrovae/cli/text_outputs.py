"""What a run of lines of text gives: lines and codes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyrovae as pv
from pyrovae.cli.table_outputs import ELSEWHERE, new_file
from pyrovae.cli.text_config import TextConfig
from pyrovae.cli.trained_run import Trained
from pyrovae.data.whole_file import whole_file


def with_vocabulary(run: Trained) -> Any:
    """The pair of a run, that takes lines and gives them."""
    assert isinstance(run.model_config, TextConfig)
    return pv.tables.with_schema(run.pair, run.model_config.read())


def sample_lines(run: Trained, count: int, *, seed: int | None, mean: bool, out: Path | None) -> Path:
    """Write new lines."""
    return write_lines(run, pv.generate(with_vocabulary(run), count, seed=seed, mean=mean), "samples", out)


def reconstruct_lines(run: Trained, count: int, *, out: Path | None) -> Path:
    """Write the first lines' reconstructions, each behind its line."""
    lines = list(run.data.frame.iloc[:count])
    again = pv.reconstruct(with_vocabulary(run), lines)
    both = [f"{line}\t{other}" for line, other in zip(lines, again, strict=True)]
    return write_lines(run, both, "reconstructions", out)


def write_lines(run: Trained, lines: list[str], name: str, out: Path | None) -> Path:
    """Write lines, whole or not at all; without a file into the folder of the run."""
    place = run.folder.path / f"{name}.txt" if out is None else new_file(out, (".txt",))
    with whole_file(place, make_folder=True, mend=ELSEWHERE) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode())
    return place
