"""What `train` is asked to do: the options given, those of the run that is resumed, and what follows from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pyrovae.cli.advice import one_of
from pyrovae.errors import ArgumentError
from pyrovae.pairs.seeds import check_seed

# Optimiser steps after which the usual small models have levelled off; epochs follow from it.
_STEPS = 4_000

_FEWEST, _MOST = 10, 1_000

# Epochs without a better bound of held-out rows: noise between epochs is over after about so many; and steps, in which
# a training of few rows, whose epochs are a step or three, has hardly begun.
_PATIENCE, _PATIENT_STEPS = 20, 500


# How `fit` calls what the command line does.
STAGED: Mapping[str, Any] = {"auto": "auto", "true": True, "false": False, "traced": "traced", "compiled": "compiled"}


@dataclass(frozen=True)
class DataOptions:
    """Options of how the data are read; None where nothing was given."""

    root: str | None = None
    key: str | None = None
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    label: str | None = None
    size: tuple[int, ...] | None = None
    mode: str | None = None
    shape: tuple[int, ...] | None = None
    labels: str | None = None
    condition: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ModelOptions:
    """Options of the built-in pair; None where nothing was given."""

    likelihood: str | None = None
    scaling: str | None = None
    net: str | None = None
    hidden: tuple[int, ...] | None = None
    latent: int | None = None
    prior: str | None = None
    components: int | None = None
    guide: str | None = None


@dataclass(frozen=True)
class TrainingOptions:
    """Options of how long and how to train; None where nothing was given."""

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    beta: float | None = None
    anneal: int | None = None
    clip_norm: float | None = None
    validation: float | None = None
    patience: int | None = None
    seed: int | None = None
    staged: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class TrainRequest:
    """Options of `train`."""

    data: str | None = None
    out: Path | None = None
    pair: str | None = None
    source: DataOptions = DataOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()
    device: str = "auto"
    resume: bool = False
    quiet: bool = False
    schema: Path | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Refuse parts of the built-in pair where another pair is brought."""
        components, chosen = self.model.components, given(self.model)
        if components is not None and components < 1:
            raise ArgumentError(f"--components {components}; give a whole number, 1 at least.")
        if self.pair is not None and chosen:
            raise ArgumentError(
                f"--{next(iter(chosen))} is for the built-in pair, and --pair brings another: leave one out."
            )
        beside = "--labels" if self.source.labels is not None else "--condition" if self.source.condition else None
        if self.source.labels is not None and self.source.condition:
            raise ArgumentError("--labels and --condition: a class is to be told, or it is given; leave one out.")
        if self.source.condition is not None and not all(self.source.condition):
            raise ArgumentError("--condition takes names of columns, with commas between, such as age,job.")
        if beside and self.pair is not None:
            raise ArgumentError(f"{beside} is for the built-in pair, and --pair brings another: leave one out.")
        if beside and self.model.prior == "vamp":
            raise ArgumentError(f"--prior vamp is a mixture of codes of data alone, and {beside} goes into codes, too.")
        if self.schema is not None and (option := self.one_family):
            raise ArgumentError(f"--schema gives each column a family of its own, and {option} all the same one.")

    @property
    def one_family(self) -> str | None:
        """The option that asks for another pair than that of a table of columns of all kinds."""
        named = {"pair": self.pair, **given(self.model), "shape": self.source.shape}
        own = (name for name, value in named.items() if value is not None and name not in ("hidden", "latent"))
        return next((f"--{name}" for name in own), None)


def given(options: DataOptions | ModelOptions | TrainingOptions) -> dict[str, Any]:
    """The options that were given, by name."""
    return {name: value for name, value in vars(options).items() if value is not None}


@dataclass(frozen=True)
class TrainingSettings:
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
    def of(cls, options: TrainingOptions, rows: int) -> TrainingSettings:
        """What was given, and for the rest what suits so many rows."""
        chosen = given(options)
        steps = math.ceil(rows / max(1, chosen.get("batch_size", cls.batch_size)))
        chosen.setdefault("epochs", min(max(math.ceil(_STEPS / max(1, steps)), _FEWEST), _MOST))
        if "patience" not in chosen:
            # With another weight than 1 the ELBO is not what is trained, so its best epoch is not the best one.
            plain = chosen.get("beta", 1.0) == 1 and chosen.get("validation", cls.validation) > 0
            chosen["patience"] = max(_PATIENCE, math.ceil(_PATIENT_STEPS / max(1, steps))) if plain else 0
        settings = cls(**chosen)
        settings.check()
        return settings

    def check(self) -> None:
        """Refuse what cannot work and what `fit` would not see."""
        if self.anneal < 0:
            raise ArgumentError(f"--anneal {self.anneal}; give the number of epochs, 0 for none.")
        if self.patience < 0:
            raise ArgumentError(f"--patience {self.patience}; give the number of epochs, 0 to train to the end.")
        if not 0 <= self.beta < math.inf:
            raise ArgumentError(f"--beta {self.beta:g}; the weight of the rate is 0 or more.")
        check_seed(self.seed)
        if not 0 < self.learning_rate < math.inf:
            raise ArgumentError(f"--learning-rate {self.learning_rate:g}; give a number above 0.")
        if self.patience and not self.validation:
            raise ArgumentError("--patience looks at held-out rows: give --validation a fraction above 0.")
        one_of("--staged", self.staged, tuple(STAGED))
        if self.precision is not None:
            one_of("--precision", self.precision, ("bfloat16",))


_Before = TypeVar("_Before", bound=Any)


def resumed(options: Mapping[str, Any], before: _Before, *, free: tuple[str, ...] = ()) -> _Before:
    """The options of the run before; what is given again must be the same, but for the free ones."""
    for name, value in options.items():
        old = getattr(before, name, None)
        if name not in free and value != old:
            option = "--" + {"root": "data-root"}.get(name, name).replace("_", "-")
            raise ArgumentError(
                f"{option} was {_shown(old)} in the run to resume and is {_shown(value)} now. Leave it out, or start a "
                "run of its own in another folder (--out). --epochs may grow, and --staged may change."
            )
    return replace(before, **{name: options[name] for name in free if name in options})


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
