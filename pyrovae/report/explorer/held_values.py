"""What a page holds while latent numbers move: covariates, discrete sites, sites that all rows have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.prediction.encode import Encoding, encodings
from pyrovae.report.explorer.decoder import Situation
from pyrovae.report.explorer.latent_axes import is_discrete
from pyrovae.sampling.observed_arguments import observed_arguments
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import merged

GIVEN = "given"  # the choice of covariates

MOST = 24  # situations, each a program of its own


class Choice(NamedTuple):
    """Something that is held, and the values that it can have.

    Attributes:
        name: of the site; "given" for the covariates of a row.
        words: the values in words.
        of_rows: for each row of the data, which of them it has.
    """

    name: str
    words: list[str]
    of_rows: list[int]


class HeldValues(NamedTuple):
    """All choices, and a situation for each combination, the last choice fastest."""

    choices: list[Choice]
    situations: list[Situation]
    others: list[Situation]  # the first situation with other rows in the place of what is observed

    def of_row(self, row: int) -> int:
        """The situation that a row is in."""
        number = 0
        for choice in self.choices:
            number = number * len(choice.words) + choice.of_rows[row]
        return number


def held_values(sampler: Sampler, asked: int, words: Callable[[int], str] | None = None) -> HeldValues:
    """What is held for a pair and its data; of more covariates than fit, those of the first rows asked for.

    Args:
        sampler: of the pair and its data.
        asked: how many rows the page holds.
        words: the covariates of a row in words.

    Raises:
        ArgumentError: there are too many covariates, and no rows to take them from.
        PairError: a discrete site has too many values.
    """
    batch = _whole(sampler)
    observed = observed_arguments(sampler)
    given = {key: leaf for key, leaf in batch.leaves.items() if key not in observed}
    firsts, of_rows = _distinct(given, batch.rows, asked)
    choices = (
        [Choice(GIVEN, [words(row) if words else _row_words(given, row) for row in firsts], of_rows)] if given else []
    )
    sites = {name: _support(sampler, name) for name in _discrete(sampler)}
    known = encodings(sampler, of_all=True) if sites else {}
    for name, support in sites.items():
        values = [_value_words(value) for value in support]
        choices.append(Choice(name, values, _chosen(known.get(name), support, batch.rows)))
    rows = [_one_row(batch, row) for row in firsts]
    situations = [
        Situation(row, dict(zip(sites, values, strict=True))) for row in rows for values in product(*sites.values())
    ]
    if len(situations) > MOST:
        counts = " x ".join(f"{len(choice.words)} of {choice.name!r}" for choice in choices)
        raise PairError(f"a page holds {MOST} situations at most, each a program, and there are {counts}.")
    held = {key: leaf[firsts[0]] for key, leaf in given.items()}
    others = [_with_covariates(_one_row(batch, row), held) for row in range(1, min(4, batch.rows))]
    return HeldValues(choices, situations, [situations[0]._replace(batch=other) for other in others])


def shared_values(sampler: Sampler) -> dict[str, torch.Tensor]:
    """Of sites that all rows have in common their posterior means."""
    return {
        name: found.mean
        for name, found in encodings(sampler, of_all=True).items()
        if name in sampler.global_sites and not is_discrete(sampler.use.posterior_run.model.nodes[name]["fn"])
    }


def _whole(sampler: Sampler) -> Batch:
    """All rows, where the pair takes them."""
    place = sampler.use.placement.place
    parts = [place(batch) for batch in sampler.use.batches.in_order(None)]
    joined = {key: torch.cat([part.leaves[key] for part in parts]) for key in parts[0].leaves}
    return Batch.of(joined)


def _one_row(batch: Batch, row: int) -> Batch:
    return Batch.of({key: leaf[row : row + 1] for key, leaf in batch.leaves.items()})


def _with_covariates(batch: Batch, held: dict[int | str, torch.Tensor]) -> Batch:
    return Batch.of({key: held[key][None] if key in held else leaf for key, leaf in batch.leaves.items()})


# --- covariates ---------------------------------------------------------------------------------------
def _distinct(given: dict[int | str, torch.Tensor], rows: int, asked: int) -> tuple[list[int], list[int]]:
    """The first row of each combination of covariates, and the combination of each row."""
    if not given:
        return [0], [0] * rows
    flat = torch.cat([leaf.reshape(rows, -1).double() for leaf in given.values()], 1)
    known: dict[tuple[float, ...], int] = {}
    firsts, of_rows = [], []
    for row, values in enumerate(map(tuple, flat.tolist())):
        if values not in known and (len(firsts) < MOST or row < asked):
            known[values] = len(firsts)
            firsts.append(row)
        of_rows.append(known.get(values, 0))
    if len(set(map(tuple, flat.tolist()))) <= MOST:
        return firsts, of_rows
    if not 0 < asked <= MOST:
        raise ArgumentError(
            f"explore: the rows have more than {MOST} different covariates ({', '.join(map(repr, given))}), and the "
            f"page holds one of {MOST} at most. Ask for a few rows ({argument('rows', 8)}): it holds theirs."
        )
    kept = [first for first in firsts if first < asked]
    return kept, [min(number, len(kept) - 1) for number in of_rows]


def _row_words(given: dict[int | str, torch.Tensor], row: int) -> str:
    parts = []
    for key, leaf in given.items():
        numbers = leaf[row].reshape(-1).tolist()
        words = ", ".join(f"{number:.4g}" for number in numbers[:4]) + (", …" if len(numbers) > 4 else "")
        parts.append(words if len(given) == 1 else f"{key if isinstance(key, str) else f'argument {key + 1}'}: {words}")
    return "; ".join(parts)


# --- discrete sites -----------------------------------------------------------------------------------
def _discrete(sampler: Sampler) -> list[str]:
    left_out = {f"{whole}_unobserved" for whole in merged(sampler.structure).values()}
    nodes = sampler.use.posterior_run.model.nodes
    return [
        site.name
        for site in sampler.structure.sites.values()
        if site.role in ("latent", "enumerated", "unguided") and site.name in nodes and site.name not in left_out
        if is_discrete(nodes[site.name]["fn"])
    ]


def _support(sampler: Sampler, name: str) -> list[torch.Tensor]:
    """The values of a discrete site of one row."""
    fn: Any = sampler.use.posterior_run.model.nodes[name]["fn"]
    place = sampler.layout.place(("model", name), batch=True)
    rows = 1 if place.axis is None or len(fn.batch_shape) < -place.axis else fn.batch_shape[place.axis]
    if fn.batch_shape.numel() != rows:
        raise PairError(f"{name!r} holds several discrete values in each row: no menu can offer all of their ways.")
    try:
        values = fn.enumerate_support(expand=False)
    except NotImplementedError:
        raise PairError(
            f"the values of the discrete site {name!r} cannot be listed, so that none can be chosen."
        ) from None
    if len(values) > MOST:
        raise PairError(f"{name!r} has {len(values)} values, and a page holds {MOST} at most.")
    return [value.reshape(fn.event_shape) for value in values]


def _value_words(value: torch.Tensor) -> str:
    return f"{value.item():g}" if value.numel() == 1 else str(int(value.argmax()))


def _chosen(known: Encoding | None, support: Sequence[torch.Tensor], rows: int) -> list[int]:
    """The most probable value for each row."""
    if known is None:
        return [0] * rows
    mean = known.mean.reshape(-1, max(1, known.mean.shape[-1])) if known.mean.ndim > 1 else known.mean.reshape(-1, 1)
    if mean.shape[0] != rows:  # a site that all rows have in common
        mean = known.mean.reshape(1, -1).expand(rows, -1)
    if mean.shape[1] == len(support):
        return mean.argmax(1).tolist()
    values = torch.stack([value.double().reshape(-1)[:1] for value in support]).reshape(1, -1)
    return (mean[:, :1].double() - values).abs().argmin(1).tolist()
