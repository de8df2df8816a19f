"""What config.json holds: the form that a folder's own is read against, whoever made it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyrovae import __version__
from pyrovae.cli.advice import GUIDES, LIKELIHOODS, NETS, PRIORS, SCALINGS
from pyrovae.cli.model_config import ModelConfig
from pyrovae.cli.request import TrainingSettings
from pyrovae.cli.table_config import TableConfig
from pyrovae.cli.text_config import TextConfig
from pyrovae.data.origin import DataSource
from pyrovae.data.read_as import read_as
from pyrovae.errors import ArgumentError, FileError

_MOST_LAYERS = 1_000  # building as many takes seconds, and nobody trains them

_BESIDE = ("torch", "pyro-ppl", "numpy")

_LARGEST = 2**24  # bytes; one of a hundred thousand columns has a tenth of that


@dataclass(frozen=True)
class RunOutcome:
    """How a training ended."""

    reason: str
    words: str | None = None
    epochs: int | None = None
    weights: str | None = None
    seconds: float | None = None
    route: str | None = None
    verdict: str | None = None
    first_elbos: list[float] | None = None
    no_elbo: str | None = None
    model: str | None = None  # a digest of the file
    history: str | None = None


@dataclass(frozen=True)
class RunConfig:
    """What a run is of, and how it was trained.

    Attributes:
        data: where they are, by a full path.
        digest: by which they are known again.
        columns: what they are called.
        pair: of the user's own, as he has called it.
        model_config: what a pair of arrays is made of.
        table: what a pair of a table is made of.
        text: what a pair of lines of text is made of.
        fit: how it is trained.
        outcome: how the training ended; None before that.
        identity: of the training, as its checkpoints know it.
        versions: of what has written the file.
    """

    data: DataSource
    digest: str
    columns: list[str]
    pair: str | None
    model_config: ModelConfig | None
    fit: TrainingSettings
    outcome: RunOutcome | None = None
    table: TableConfig | None = None
    text: TextConfig | None = None
    identity: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def made_of(self) -> ModelConfig | TableConfig | TextConfig | None:
        """What the pair is made of; None where it is somebody's own."""
        return self.table or self.text or self.model_config

    @property
    def ended(self) -> RunOutcome:
        """How the training ended; nothing is known of one that has not."""
        return self.outcome or RunOutcome("")


def written(config: RunConfig, *, kind: str, newest: int) -> bytes:
    """A config.json, which says the versions of what writes it."""
    versions = {
        "pyrovae": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _BESIDE},
    }
    document = {"kind": kind, "format": newest, **asdict(replace(config, versions=versions))}
    return (json.dumps(sealed(document), indent=2) + "\n").encode()


def sealed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with a digest of all that it says: another seed, say, would make training rows "held out"."""
    plain = {name: value for name, value in config.items() if name != "seal"}
    text = json.dumps(json.loads(json.dumps(plain)), sort_keys=True)
    return {**plain, "seal": hashlib.sha256(text.encode()).hexdigest()[:32]}


def checked_config(path: Path, content: bytes, *, kind: str, newest: int) -> RunConfig:
    """What a config.json says, once it is known to have the form of one.

    Raises:
        FileError: it is damaged, of something else, or of a newer version.
    """
    if len(content) > _LARGEST:
        raise FileError(f"{path} has {len(content):,} bytes, and the limit is {_LARGEST:,}: it is no configuration.")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged: {error}.") from error
    if not isinstance(config, dict) or config.get("kind") != kind:
        raise FileError(f"{path} is the configuration of something else, not of a run of pyrovae.")
    if read_as(int, config.get("format"), f"{path}, format") > newest:
        versions = read_as(dict[str, str], config.get("versions"), f"{path}, versions")
        raise FileError(f"{path.parent} was made by a newer pyrovae ({versions.get('pyrovae')}): install that.")
    known = {one.name for one in fields(RunConfig)}
    found = read_as(RunConfig, {k: v for k, v in config.items() if k in known}, str(path))
    _check_meaning(found, path)
    if config.get("seal") != sealed(config)["seal"]:
        raise FileError(
            f"{path} is not as it was written: its content does not match its digest. Put it back as it was; what the "
            "run was trained on, and how, cannot be known from it now."
        )
    return found


def _check_meaning(config: RunConfig, path: Path) -> None:
    """What the types alone do not say."""
    try:
        config.fit.check()
    except ArgumentError as error:
        raise FileError(f"{path}, fit is damaged: {error}") from error
    if (config.pair, config.model_config, config.table, config.text).count(None) != 3:
        raise FileError(f"{path} is damaged: it says of the pair both or neither of what it is called and made of.")
    one, table, text = config.model_config, config.table, config.text
    if text is not None and (
        not config.data.is_text
        or min(text.latent, text.hidden, text.embedding) < 1
        or text.free_nats < 0
        or not text.read()
    ):
        raise FileError(f"{path}, text is damaged: there is no pair of that kind.")
    if table is not None and (
        not config.data.is_table
        or min(table.latent, *table.hidden) < 1
        or len(table.hidden) > _MOST_LAYERS
        or not table.read()
    ):
        raise FileError(f"{path}, table is damaged: there is no pair of that kind.")
    if one is not None and not (
        one.likelihood in LIKELIHOODS
        and one.scaling in SCALINGS[one.likelihood]
        and one.net in NETS
        and one.prior in PRIORS
        and one.guide in GUIDES
        and min(one.latent, one.components, *one.hidden, *one.shape) >= 1
        and len(one.hidden) <= _MOST_LAYERS
        and len(one.shape) == (3 if one.net == "conv" else len(one.shape))
        and one.shape
        and one.top > 0
    ):
        raise FileError(f"{path}, model_config is damaged: there is no pair of that kind.")
