"""What `train` was asked to do: what was told, what a resumed run was told before, and what follows from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyrovae.cli.advice import one_of
from pyrovae.errors import ArgumentError

# Optimiser steps after which the usual small models have levelled off; epochs follow from it.
_STEPS = 4_000

_FEWEST, _MOST = 10, 200

# Epochs without a better validation ELBO: noise between epochs is over after about so many.
_PATIENCE = 20


# How `fit` calls what the command line does.
STAGED: Mapping[str, Any] = {"auto": "auto", "true": True, "false": False, "traced": "traced", "compiled": "compiled"}


_SOURCE = ("root", "key", "header", "columns", "label", "size", "mode", "shape")

_CHOICES = ("likelihood", "scaling", "net", "hidden", "latent")

_FIT = (
    "epochs",
    "batch_size",
    "learning_rate",
    "beta",
    "anneal",
    "clip_norm",
    "validation",
    "patience",
    "seed",
    "staged",
    "precision",
)


@dataclass(frozen=True)
class TrainRequest:
    """Options of `train`; None where nothing was told."""

    data: str | None = None
    out: Path | None = None
    pair: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, Any] = field(default_factory=dict)
    prior: str | None = None
    components: int | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    resume: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, **told: Any) -> TrainRequest:
        """The options of the command line, in groups."""
        groups = {
            name: {key: told[key] for key in keys}
            for name, keys in (("source", _SOURCE), ("choices", _CHOICES), ("fit", _FIT))
        }
        plain = ("data", "out", "pair", "prior", "components", "device", "resume", "quiet")
        request = cls(**groups, **{name: told[name] for name in plain})
        request.check()
        return request

    def check(self) -> None:
        """Refuse parts of the built-in pair where another pair is brought."""
        parts = {**self.choices, "prior": self.prior, "components": self.components}
        chosen = [name for name, value in parts.items() if value is not None]
        if self.components is not None and self.components < 1:
            raise ArgumentError(f"--components {self.components}; give a whole number, 1 at least.")
        if self.pair is not None and chosen:
            raise ArgumentError(f"--{chosen[0]} is for the built-in pair, and --pair brings another: leave one out.")


@dataclass(frozen=True)
class TrainOptions:
    """How long and how to train; kept in config.json."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    beta: float = 1.0
    anneal: int = 0
    clip_norm: float | None = None
    validation: float = 0.1
    patience: int = 0
    seed: int = 0
    staged: str = "auto"
    precision: str | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any], rows: int) -> TrainOptions:
        """What was told, and for the rest what suits so many rows."""
        given = {name: value for name, value in told.items() if value is not None}
        steps = math.ceil(rows / max(1, given.get("batch_size", cls.batch_size)))
        given.setdefault("epochs", min(max(math.ceil(_STEPS / max(1, steps)), _FEWEST), _MOST))
        if "patience" not in given:
            # With another weight than 1 the ELBO is not what is trained, so its best epoch is not the best one.
            plain = given.get("beta", 1.0) == 1 and given.get("validation", cls.validation) > 0
            given["patience"] = _PATIENCE if plain else 0
        options = cls(**given)
        options.check()
        return options

    def check(self) -> None:
        """Refuse what cannot work and what `fit` would not see."""
        if self.anneal < 0:
            raise ArgumentError(f"--anneal {self.anneal}; give the number of epochs, 0 for none.")
        if self.patience < 0:
            raise ArgumentError(f"--patience {self.patience}; give the number of epochs, 0 to train to the end.")
        if not 0 <= self.beta < math.inf:
            raise ArgumentError(f"--beta {self.beta:g}; the weight of the rate is 0 or more.")
        if not 0 <= self.seed < 2**63:
            raise ArgumentError(f"--seed {self.seed}; give a whole number from 0 up.")
        if not 0 < self.learning_rate < math.inf:
            raise ArgumentError(f"--learning-rate {self.learning_rate:g}; give a number above 0.")
        if self.patience and not self.validation:
            raise ArgumentError("--patience looks at held-out rows: give --validation a fraction above 0.")
        one_of("--staged", self.staged, tuple(STAGED))
        if self.precision is not None:
            one_of("--precision", self.precision, ("bfloat16",))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def resumed(told: Mapping[str, Any], before: Mapping[str, Any], *, free: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options of the run before; what was told again must be the same, but for the free ones."""
    for name, value in told.items():
        if value is None or name in free:
            continue
        old = before.get(name)
        if _plain(value) != _plain(old):
            option = "--" + {"root": "data-root"}.get(name, name).replace("_", "-")
            raise ArgumentError(
                f"{option} was {_shown(old)} in the run to resume and is {_shown(value)} now. Leave it out, or start a "
                "run of its own in another folder (--out). --epochs may grow, and --staged may change."
            )
    return {**before, **{name: told[name] for name in free if told.get(name) is not None}}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
