"""A run as one HTML file that needs nothing else: no network, no script, images inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import torch

import pyrovae as pv
from pyrovae import __version__
from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError, PyrovaeError
from pyrovae.evaluation.rate_distortion import RateDistortion
from pyrovae.plots import pictures
from pyrovae.report.column_sections import column_sections
from pyrovae.report.overall_verdict import OverallVerdict, overall_verdict
from pyrovae.report.report_data import Given, ReportData
from pyrovae.report.section import Section
from pyrovae.report.sections import few_sections, make_sections, missing
from pyrovae.report.table_figures import table_figures
from pyrovae.report.table_verdict import table_verdicts
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.sites_without_weights import why_no_weights
from pyrovae.tables.schema import Schema
from pyrovae.training.epoch import Epoch
from pyrovae.training.verdict import Verdict

_DRAWS = 10  # as `pyrovae evaluate` takes, so that the two show the same figures


def render(
    pair: pv.HasPair,
    batch: Batch,
    *,
    history: tuple[Epoch, ...] | None,
    title: str,
    data_words: str,
    kind: str,
    names: tuple[str, ...] = (),
    labels: np.ndarray | None = None,
    raw_range: tuple[float, float] | None = None,
    restore: Callable[[torch.Tensor], np.ndarray] | None = None,
    outcome: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    table: tuple[Schema, Any] | None = None,
    decode: Callable[[torch.Tensor], list[str]] | None = None,
    key: int | str = 0,
) -> str:
    """Look at a trained pair with some rows and write down what is seen.

    Args:
        pair: the pair.
        batch: held-out data as the pair takes them, each argument `(rows, *event)`.
        history: the epochs of its training; None where nothing is known of it.
        title: of the page.
        data_words: what the rows are, in a few words.
        kind: "images", "table", or "text".
        names: of a table's columns.
        labels: classes of the rows, which colour the latent space.
        raw_range: what is black and what is white; left out, it is taken from the data.
        restore: from what the pair gives to units of the raw data.
        outcome: why the training ended, as in config.json; `latents`: whether the guide was trained, so that latent
            sites have something to show.
        settings: what the page says about how the run was made.
        table: the schema of the rows and their frame, where the columns are of several kinds.
        decode: from tokens to lines, where rows are lines of text.
        key: the position or name of the argument that holds what the pair observes.

    Returns:
        The HTML of the page.

    Examples:
        >>> x = torch.rand(64, 3)
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 4)))
        >>> run = pv.fit(vae, x, epochs=4, seed=0, progress=False)
        >>> page = render(vae, Batch((x,), {}), history=run.history, title="noise", data_words="64 rows", kind="table")
        >>> page.startswith("<!doctype html>"), "Traversal" in page
        (True, True)
    """
    about = ReportData(pair, batch, restore or (lambda values: values.detach().numpy()), names, labels, key=key)
    about = about._replace(schema=None if table is None else table[0], decode=decode)
    given, originals = about.first(batch.rows), about.originals(1_000)
    shown = kind == "images" and pictures.is_picture(originals.shape[1:])
    limits = (raw_range or pictures.value_range(originals)) if shown else None
    ended = outcome or {}
    try:
        active = pv.active_units(pair, *given.args, **given.named) if ended.get("latents", True) else {}
    except PairError as error:  # weights that went bad: the curves say when
        verdict = overall_verdict(history, {}, ended)
        return page(title, data_words, verdict, _training(history), few_sections(history, settings or {}, error))
    columns, said = ([], []) if table is None else _of_a_table(about, *table)
    no_elbo = ended.get("no_elbo") or why_no_weights(Sampler.of(pair, given.args, given.named, seed=0).use)
    verdict = overall_verdict(history, active, ended, said, no_elbo)
    figures = _figures(_measured(pair, given), active, history)
    sections = make_sections(about, history, limits, settings or {}, columns, no_elbo)
    return page(title, data_words, verdict, figures, sections)


def _of_a_table(about: ReportData, schema: Schema, frame: Any) -> tuple[list[Section], list[Verdict]]:
    """Sections and verdicts of a table whose columns are of several kinds."""
    try:
        found = table_figures(about, schema, frame)
    except (PyrovaeError, ValueError) as error:  # weights that went bad, or hardly any cells
        return [missing("Column by column", f"Not for this pair and these rows: {str(error).splitlines()[0]}")], []
    return column_sections(schema, found), table_verdicts(schema, found)


def _measured(pair: pv.HasPair, given: Given) -> RateDistortion | None:
    """None where there is none: the guide stands at a point, say, and has no density there."""
    try:
        return pv.rate_distortion(pair, *given.args, draws=_DRAWS, **given.named)
    except PairError:
        return None


def _figures(
    measured: RateDistortion | None, active: Mapping[str, Any], history: tuple[Epoch, ...] | None
) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value, and what it is."""
    figures = []
    if measured is not None:
        figures = [
            ("ELBO", f"{measured.elbo:,.2f}", "nats per datum; higher is better"),
            ("Rate", f"{measured.rate:,.2f}", "nats in the latent variables"),
            ("Distortion", f"{measured.distortion:,.2f}", "nats lost in reconstruction"),
        ]
    figures += [
        (f"Active {site}", f"{units.count} of {units.total}", "dimensions in use") for site, units in active.items()
    ]
    return [*figures, *_training(history)]


def _training(history: tuple[Epoch, ...] | None) -> list[tuple[str, str, str]]:
    if history is None:
        return []
    seconds = sum(row.seconds for row in history)
    epochs = f"{len(history)} epoch{'' if len(history) == 1 else 's'}"
    return [("Training", epochs, f"in {_time(seconds)}")]


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def page(
    title: str, data_words: str, verdict: OverallVerdict, figures: list[tuple[str, str, str]], sections: list[Section]
) -> str:
    """The HTML around the sections."""
    style = files("pyrovae.report").joinpath("page.css").read_text(encoding="utf-8")
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(words)}</small></dd></div>"
        for name, value, words in figures
    )
    bodies = "".join(
        f"<section><h2>{escape(section.heading)}</h2><figure>{section.body}"
        f"{f'<figcaption>{escape(section.reading)}</figcaption>' if section.reading else ''}</figure></section>"
        for section in sections
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}: pyrovae</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n'
        f"<header><h1>{escape(title)}</h1><p>Looked at with {escape(data_words)}.</p></header>\n"
        f'<div class="verdict {verdict.style}" role="status"><strong>{escape(verdict.kind.value)}</strong>'
        f"<p>{escape(' '.join(verdict.sentences))}</p></div>\n"
        f"<dl>{cards}</dl>\n{bodies}\n<footer>Written by pyrovae {__version__}.</footer>\n</main>\n</body>\n</html>\n"
    )
