"""A page in which a pair's decoder runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, shares_codes
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.report.explorer.explored_pair import explored_pair
from pyrovae.report.explorer.explored_sites import PageOptions
from pyrovae.report.explorer.explorer_page import explorer_page
from pyrovae.report.explorer.explorer_widget import explorer_widget
from pyrovae.sampling.sampler import Sampler
from pyrovae.tables.schema import Schema
from pyrovae.training.fit_result import Fit


@in_turn
def explore(
    trained: HasPair | Fit,
    /,
    *data: Any,
    path: str | os.PathLike[str] | None = None,
    rows: int = 0,
    title: str | None = None,
    names: Sequence[str] = (),
    labels: Any = None,
    shape: tuple[int, ...] | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> Any:
    """Write one HTML file in which latent numbers are moved and the decoder answers; or show it in a notebook.

    At a place z the page shows `E[x | z]`, the noise `sd[x | z]`, and the spread of `E[x | z']` over z' as uncertain
    as a posterior is. The decoder runs in the page itself: its operations as torch traces them, with its weights. The
    file needs no network, and nothing in it is a row of the data unless rows are asked for.

    Args:
        trained: any trained pair with a continuous latent site in each row, or the `Fit` that trained it.
        *data: the arguments of model and guide. Their codes tell which dimensions come first and how far sliders reach.
        path: of the file, `.html`; an older one is replaced. Left out, the same explorer is a widget (`anywidget`, by
            `pip install 'pyrovae[notebook]'`), which a notebook shows as the last line of a cell.
        rows: how many of the first rows the page holds, to start from and as neighbours; 0 for none.
        title: of the page; left out, the file's name.
        names: of the elements of a datum, such as a table's columns.
        labels: a class for each row, shown with the rows that the page holds.
        shape: of a datum, such as (28, 28), where the pair takes images flat.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        The path, or the widget.

    Raises:
        PairError: the decoder does what a page cannot; it says what.
        ArgumentError: another suffix, or more rows than there are.

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pv.explore(vae, torch.randn(50, 3), path=f"{folder}/noise.html")
        ...     "https:" in path.read_text()
        False
    """
    pair, place = trained.pair if isinstance(trained, Fit) else trained, None if path is None else Path(path)
    asked, schema = check_count("rows", rows, least=0), schema_of(pair)
    options = PageOptions(
        title=title or (place.stem if place else "explorer"),
        rows=asked,
        names=names,
        labels=_classes(labels, asked),
        shape=shape,
        schema=schema if isinstance(schema, Schema) else None,
    )
    if place is None:
        return explorer_widget(_explored(pair, data, named, options, data_plate))
    return write_explorer(pair, data, named, place, options, data_plate)


def write_explorer(
    pair: HasPair,
    data: tuple,
    named: dict[str, Any],
    place: Path,
    options: PageOptions,
    data_plate: str | None = None,
    mend: str = "",
) -> Path:
    """`explore`, for data of which more is known.

    Args:
        pair: the pair.
        data: its arguments by position.
        named: and by name.
        place: of the file.
        options: what is known.
        data_plate: the plate of the rows.
        mend: what to do where the file cannot be written.
    """
    if place.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"explore: {place} is to be an HTML file; call it {place.stem or 'explorer'}.html.")
    text = explorer_page(_explored(pair, data, named, options, data_plate))
    with whole_file(place, make_folder=True, mend=mend) as stream:
        stream.write(text.encode(errors="backslashreplace"))
    return place


def _explored(
    pair: HasPair, data: tuple, named: dict[str, Any], options: PageOptions, data_plate: str | None
) -> dict[str, Any]:
    """What the script is given."""
    if not shares_codes(pair):
        raise PairError("explore: a code means something else for each member of an ensemble; explore one of them.")
    with forked_random():
        sampler = Sampler.of(pair, data, named, seed=0, data_plate=data_plate)
        if sampler.rows is not None and options.rows > sampler.rows:
            raise ArgumentError(f"explore: {argument('rows', options.rows)}; there are {sampler.rows}.")
        return explored_pair(sampler, options)


def _classes(labels: Any, rows: int) -> list[str] | None:
    if labels is None or not rows:
        return None
    found = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if found.ndim != 1 or len(found) < rows:
        raise ArgumentError(f"explore: labels has shape {found.shape}; give a class for each row.")
    return [str(one) for one in found[:rows].tolist()]
