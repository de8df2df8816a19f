"""`pyrovae sample`: new data, of a run's own kind, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyrovae as pv
from pyrovae.cli.annotated_samples import annotated_samples
from pyrovae.cli.outputs import check_number, raw_values, repeated, value_range, written
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.table_outputs import sample_where, with_schema, write_frame
from pyrovae.cli.text_config import TextConfig
from pyrovae.cli.text_outputs import sample_lines
from pyrovae.cli.trained_run import Trained
from pyrovae.errors import ArgumentError
from pyrovae.pairs.blank import has_blank
from pyrovae.plots import pictures


def sample(
    run: Trained,
    count: int,
    where: Sequence[str] = (),
    *,
    candidates: int | None = None,
    seed: int | None = None,
    mean: bool | None = None,
    out: Path | None = None,
) -> list[Path]:
    """Draw new data and write them.

    Args:
        run: which draws.
        count: how many.
        where: `column=value`, what is given of them: labels and conditions of a run that has some, cells of a table.
        candidates: draws of the latents that cells are weighed by.
        seed: of the draws.
        mean: means of the likelihood; None takes them of images.
        out: a new file.

    Returns:
        The files.
    """
    check_number(count)
    if candidates is not None:
        _check_weighed(run, where)
    if run.annotation is not None:
        return annotated_samples(run, count, where, seed=seed, mean=mean, out=out)
    if where:
        if mean:
            raise ArgumentError("--mean and --where: rows of which something is given are draws; leave --mean out.")
        return [sample_where(run, count, where, candidates=candidates, seed=seed, out=out)]
    return _new_data(run, count, seed, mean, out)


def _check_weighed(run: Trained, where: Sequence[str]) -> None:
    if run.annotation is not None:
        raise ArgumentError("--candidates is for cells of a table; under a label or a condition nothing is weighed.")
    if not where:
        raise ArgumentError("--candidates is for --where; without it nothing is weighed.")


def _new_data(run: Trained, count: int, seed: int | None, mean: bool | None, out: Path | None) -> list[Path]:
    if isinstance(run.model_config, TextConfig):
        return [sample_lines(run, count, seed=seed, mean=bool(mean), out=out)]
    if isinstance(run.model_config, TableConfig):
        return [write_frame(run, pv.generate(with_schema(run), count, seed=seed, mean=bool(mean)), "samples", out)]
    # The mean of an image is what people want to see; the mean of a row would be a row without its noise.
    taken = run.data.kind == "images" if mean is None else mean
    given = count if has_blank(run.pair) else repeated(run.rows(), count)
    drawn = pv.generate(run.pair, given, seed=seed, mean=taken)[run.observed()]
    values = raw_values(run, drawn, mean=taken)
    return written(run, values, "samples", out, lambda: pictures.grid(values, value_range(run)))
