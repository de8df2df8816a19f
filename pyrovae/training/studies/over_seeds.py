"""How far figures move when nothing but the seed does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Unpack

import torch

from pyrovae.data.rows_of_frames import as_arguments
from pyrovae.errors import ArgumentError, DataError
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.evaluation.resemblance import Resemblance, resemblance
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import chosen_seed
from pyrovae.pairs.turns import in_turn
from pyrovae.training.fit_options import StudyKeywords
from pyrovae.training.studies.separate_runs import check_options, trained

_DRAWS = 64


class SeedSpread(NamedTuple):
    """Figures of trainings that differ by their seed alone, one of each per seed.

    Attributes:
        seeds: the seeds.
        evidence: mean log evidence of a held-out datum in nats, (seeds,).
        resemblance: of generated to held-out data; None where they cannot be compared.

    Examples:
        >>> spread = SeedSpread((0, 1), torch.tensor([-3.0, -3.2]), (None, None))
        >>> round(float(spread.evidence.std()), 3)
        0.141
    """

    seeds: tuple[int, ...]
    evidence: torch.Tensor
    resemblance: tuple[Resemblance | None, ...]

    def table(self) -> list[tuple[str, float, float]]:
        """Each figure with its mean and standard deviation over the seeds."""
        rows = {"log evidence of a datum, nats": self.evidence.double()}
        found = [one for one in self.resemblance if one is not None]
        if found and len(found) == len(self.seeds):
            rows |= {
                "classifier's accuracy, real against generated": _of(r.classifier.accuracy for r in found),
                "maximum mean discrepancy, squared": _of(r.discrepancy.value for r in found),
                "precision": _of(r.neighbourhoods.precision for r in found),
                "recall": _of(r.neighbourhoods.recall for r in found),
                "density": _of(r.neighbourhoods.density for r in found),
                "coverage": _of(r.neighbourhoods.coverage for r in found),
            }
        return [(name, float(v.mean()), float(v.std()) if len(v) > 1 else float("nan")) for name, v in rows.items()]


def _of(values: Iterator[float]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


@in_turn
def over_seeds(
    make: Callable[[], HasPair],
    data: Any,
    *,
    held_out: Any,
    seeds: int = 5,
    seed: int = 0,
    draws: int = _DRAWS,
    features: Any = None,
    **options: Unpack[StudyKeywords],
) -> SeedSpread:
    r"""Train a pair from several seeds, and see how evidence and generated data differ.

    The spread of a figure over seeds says how much of the difference between two models is luck.

    Args:
        make: returns a new pair.
        data: arrays as `fit` takes them.
        held_out: data of the same form to measure on.
        seeds: how many.
        seed: the first.
        draws: for the evidence of each datum.
        features: of the comparison; see `resemblance`.
        **options: of `fit`.

    Returns:
        A `Spread`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> def make():
        ...     likelihood = pv.Normal(pv.MLP(1, [], 4), scale=1.0)
        ...     return pv.VAE(pv.StandardNormal(1), likelihood, pv.DiagNormal(pv.MLP(4, [], 2)))
        >>> x = torch.randn(80, 4)
        >>> pv.over_seeds(make, x[:60], held_out=x[60:], seeds=2, epochs=1).evidence.shape
        torch.Size([2])
    """
    check_options(options)
    seeds, seed = check_count("seeds", seeds), chosen_seed(seed)
    evidence, alike, chosen = [], [], tuple(range(seed, seed + seeds))
    args, named = as_arguments(held_out)
    for one in chosen:
        with trained(make, data, seed=one, **options) as run:
            evidence.append(log_evidence(run.pair, *args, draws=draws, seed=one, **named).value.double().mean())
            alike.append(_resemblance(run.pair, args, named, one, features))
    return SeedSpread(chosen, torch.stack(evidence), tuple(alike))


def _resemblance(pair: HasPair, args: tuple, named: dict[str, Any], seed: int, features: Any) -> Resemblance | None:
    try:
        return resemblance(pair, *args, seed=seed, features=features, **named)
    except (ArgumentError, DataError):
        return None  # no observed site of each datum, holes, or too few rows
