"""The report on any trained pair, from a script or a notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.pair import HasPair, unwrapped
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import WithSchema, schema_of
from pyrovae.report.page import render
from pyrovae.sampling.observed_arguments import observed_arguments
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import arguments
from pyrovae.tables.schema import Schema
from pyrovae.tables.text.vocabulary import Vocabulary
from pyrovae.training.epoch import Epoch
from pyrovae.training.fit_result import Fit

_MOST = 10_000  # rows: more would take minutes, and move no figure that is shown


@in_turn
def write_report(
    trained: HasPair | Fit,
    /,
    *data: Any,
    path: str | os.PathLike[str],
    title: str | None = None,
    names: Sequence[str] = (),
    labels: Any = None,
    history: Sequence[Epoch] | None = None,
    settings: Mapping[str, Any] | None = None,
    **named: Any,
) -> Path:
    """Look at a trained pair with some data and write what is seen as one HTML file.

    It opens with a verdict, what the pair is sure of, what is strange to it and whether its intervals hold; curves,
    reconstructions, samples, latent space and a traversal follow. What does not apply to a pair is said in its place.

    Args:
        trained: any trained pair, or the `Fit` that trained it, whose history is then in the report.
        *data: the arguments of model and guide, best rows that were held out; of more than 10,000 the first. Rows of
            two dimensions or more are shown as pictures, others as a table. A frame for a pair with a schema.
        path: of the file, `.html`; an older one is replaced.
        title: of the page; left out, the file's name.
        names: of the columns of a row.
        labels: a class for each row, which colours the latent space.
        history: one row an epoch, where `trained` is no `Fit`.
        settings: what the page shall say about how the pair was made.
        **named: keyword arguments of model and guide.

    Returns:
        The path.

    Raises:
        PairError: none of the arguments is what the pair observes.
        ArgumentError: another suffix, or as many labels as there are no rows.

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
        >>> run = pv.fit(vae, torch.randn(64, 3), epochs=4, seed=0, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pv.write_report(run, torch.randn(50, 3), path=f"{folder}/noise.html")
        ...     "What is strange to it" in path.read_text()
        True
    """
    place = Path(path)
    if place.suffix.lower() not in (".html", ".htm"):
        raise ArgumentError(f"write_report: {place} is to be an HTML file; call it {place.stem or 'report'}.html.")
    pair, epochs = (trained.pair, trained.history) if isinstance(trained, Fit) else (trained, history)
    batch, words = _looked_at(pair, data, named)
    table, key = _table(pair, data, batch.rows), _observed(pair, batch)
    vocabulary = schema if isinstance(schema := schema_of(pair), Vocabulary) else None
    # Figures are of rows, and what is drawn are such.
    bare = unwrapped(pair) if vocabulary else pair.pair if isinstance(pair, WithSchema) and table else pair
    with forked_random():
        text = render(
            bare,
            batch,
            restore=lambda values: _shaped(values, batch.leaves[key]),
            history=None if epochs is None else tuple(epochs),
            title=title or place.stem,
            data_words=words,
            kind="images",
            names=tuple(names) or (tuple(column.name for column in table[0].columns) if table else ()),
            labels=_of_rows(labels, batch.rows),
            settings=settings,
            outcome=_ended(trained),
            table=table,
            decode=None if vocabulary is None else vocabulary.decode,
            key=key,
        )
    with whole_file(place, make_folder=True) as stream:
        stream.write(text.encode(errors="backslashreplace"))
    return place


def _ended(trained: HasPair | Fit) -> dict[str, Any]:
    """What a training says of itself that a look at the pair would not show."""
    return {"no_elbo": trained.no_elbo, "latents": bool(trained.active)} if isinstance(trained, Fit) else {}


def _looked_at(pair: HasPair, data: tuple, named: Mapping[str, Any]) -> tuple[Batch, str]:
    batches = as_batches(arguments(pair, data, named))
    batch = batches.first(_MOST)
    if not batch.leaves:
        raise DataError("write_report: a pair without arguments holds its data itself: there are no rows to look at.")
    if batches.rows is not None and batches.rows <= _MOST:
        return batch, f"{batch.rows:,} rows"
    return batch, f"the first {batch.rows:,} rows" + (f" of {batches.rows:,}" if batches.rows else "")


def _observed(pair: HasPair, batch: Batch) -> int | str:
    """The first argument that holds what the pair observes, in whatever shape."""
    sampler = Sampler.of(pair, batch.args, batch.kwargs, seed=0)
    rows = next(sampler.tiles(1))
    seen = {rows.value(site).numel() for site in sampler.structure.named("observed")}
    held = observed_arguments(sampler)
    found = [key for key, leaf in rows.batch.leaves.items() if key in held and leaf.numel() in seen]
    if not found:
        raise PairError(
            "write_report: none of the arguments is what the pair observes; it computes that from them. Compute it "
            "beforehand, and give the pair the result as an argument."
        )
    return found[0]


def _shaped(values: torch.Tensor, rows: torch.Tensor) -> np.ndarray:
    """What the pair gives in the shape of the rows: a model may flatten images."""
    array = values.detach().numpy()
    return array.reshape(len(array), *rows.shape[1:]) if array[:1].size == rows[:1].numel() else array


def _of_rows(labels: Any, rows: int) -> np.ndarray | None:
    if labels is None:
        return None
    classes = np.asarray(labels)
    if classes.ndim != 1 or len(classes) < rows:
        raise ArgumentError(f"write_report: labels has shape {classes.shape}; give a class for each of {rows:,} rows.")
    return classes[:rows]


def _table(pair: Any, data: tuple, rows: int) -> tuple[Schema, Any] | None:
    """The schema and the frame, where columns are of several kinds."""
    if not isinstance(pair, WithSchema) or not isinstance(pair.schema, Schema) or len(data) != 1:
        return None
    return (pair.schema, data[0].iloc[:rows]) if hasattr(data[0], "iloc") else None
