"""A trained pair as a folder that others can take: a card, its figures, its weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyro
import torch

from pyrovae.checks.describe import DescribedSite, describe
from pyrovae.data.batches import as_batches
from pyrovae.data.data_digest import data_digest
from pyrovae.data.whole_file import whole_folder
from pyrovae.errors import ArgumentError, DataError, argument
from pyrovae.export.card_figures import card_figures
from pyrovae.export.card_text import card_text
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, owner
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.use import arguments
from pyrovae.training.saved.weight_files import save


@in_turn
def model_card(
    pair: HasPair,
    /,
    *data: Any,
    path: str | os.PathLike[str],
    title: str | None = None,
    description: str = "",
    license: str | None = None,
    rows: int = 500,
    draws: int = 200,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Path:
    """Write a trained pair as a folder in the layout of the Hugging Face Hub: `README.md`, `config.json`, weights.

    The card says what the pair consists of and what it comes to on these data: a digest of them, the ELBO, the evidence
    with the share of rows whose importance weights can be trusted, the coverage of its intervals, how many usual rows
    `novelty` flags (one half of the rows is held against the other), and what is not known. What a pair has not, such
    as a coverage, is said with the reason.

    Args:
        pair: any trained pair.
        *data: the arguments of model and guide, rows that it was not trained on.
        path: of the folder; files of these names in it are replaced.
        title: of the card; left out, the folder's name.
        description: what stands below it, in Markdown.
        license: as the Hub writes it ("apache-2.0").
        rows: how many rows are looked at, the first ones.
        draws: for each of them.
        seed: of the draws.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        The folder.

    References:
        Mitchell et al., "Model cards for model reporting" (2019).

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = pv.model_card(truth, truth.sample(80, seed=0), path=f"{folder}/sticks", draws=50)
        ...     text = (card / "README.md").read_text()
        >>> text.startswith("---"), "false alarms" in text
        (True, True)
    """
    rows, draws = check_count("rows", rows), check_count("draws", draws)
    if license is not None and len(license.split()) != 1:
        raise ArgumentError(
            f"model_card: {argument('license', license)}; give it as the Hub writes it, 'apache-2.0' say."
        )
    seed = chosen_seed(seed)
    batches = as_batches(arguments(pair, data, named))
    batch = batches.first(rows)
    if not batch.leaves:
        raise DataError("model_card: a pair without arguments holds its data itself: there are no rows to look at.")
    digest = data_digest(batches)
    described = describe(pair, *batch.args, data_plate=data_plate, **batch.kwargs)
    measured = card_figures(pair, batch, draws=draws, seed=seed, data_plate=data_plate)
    folder = Path(path)
    config = {
        "library": "pyrovae",
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "pair": _name(pair),
        "parameters": sum(_numbers(shape) for shape in described.parameters.values()),
        "sites": [_plain(site) for site in described.sites],
        "data": {"rows": batches.rows, "rows_measured": batch.rows, "digests": digest.digests, "read": digest.words},
        **measured._asdict(),
    }
    text = card_text(config, title=title or folder.name, description=description, license=license)
    with whole_folder(folder) as partial:
        for name, content in {"README.md": text, "config.json": json.dumps(config, indent=2, default=str)}.items():
            (partial / name).write_bytes(content.encode())
        save(pair, partial / "model.safetensors", *batch.args, **batch.kwargs)
    return folder


def _name(pair: HasPair) -> str:
    known = owner(pair)
    made = known if callable(known) and hasattr(known, "__qualname__") else type(known)
    return f"{made.__module__}.{made.__qualname__}"


def _plain(site: DescribedSite) -> dict[str, Any]:
    """A site without what hangs on the rows that were seen."""
    told = {name: getattr(site, name) for name in ("name", "role", "local", "model", "guide")}
    return {**told, "shape": list(site.event_shape), "plates": list(site.plates)}


def _numbers(shape: Any) -> int:
    return int(torch.Size(shape).numel())
