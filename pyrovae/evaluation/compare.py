"""Several pairs on the same data: which of them expects the data most, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, DataError, PairError
from pyrovae.evaluation.arviz_versions import psislw
from pyrovae.evaluation.importance_weights import check, row_weights
from pyrovae.evaluation.per_datum import check_proper, of_each_datum
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.same_numbers import same_numbers
from pyrovae.pairs.trace import samples
from pyrovae.pairs.turns import in_turn
from pyrovae.plots.blank_figure import blank_figure
from pyrovae.sampling.sampler import Sampler

_TRUSTED = 0.7  # khat up to which an evidence is

_CLEAR = 2.0  # standard errors: one difference in twenty is as large by chance

_FEWEST_DRAWS = 30  # by which a tail can be fitted

_FEWEST = 2  # rows, of whose differences there is a spread


class Comparison(NamedTuple):
    """Pairs in the order of their evidence, the best first; tensors (pairs,), but for `rows`.

    Attributes:
        names: what they were called.
        evidence: the mean over the rows, nats per datum.
        error: its standard error, of rows and draws together.
        behind: by how much it lies below the best one's, the mean of the rows' differences.
        behind_error: the standard error of that. Rows that are hard for one pair are hard for the others, so it is
            smaller than the two errors together.
        unreliable: the share of rows whose khat exceeds 0.7: there the evidence may be too low. NaN where there are too
            few draws for a khat.
        rows: the evidence of each row, (pairs, rows).

    Examples:
        >>> import torch, pyrovae as pv
        >>> weight = torch.tensor([[1.0], [2.0], [-1.0]])
        >>> right, wrong = (pv.truth.LinearGaussian(weight, torch.zeros(3), scale) for scale in (0.5, 2.0))
        >>> found = pv.compare({"too noisy": wrong, "right": right}, right.sample(200, seed=0), draws=25)
        >>> found.names, found.verdict.split(":")[0]
        (('right', 'too noisy'), "'right' is ahead")
    """

    names: tuple[str, ...]
    evidence: torch.Tensor
    error: torch.Tensor
    behind: torch.Tensor
    behind_error: torch.Tensor
    unreliable: torch.Tensor
    rows: torch.Tensor

    def __repr__(self) -> str:
        """Figures in words, and not all of their numbers."""
        return str(self)

    @property
    def verdict(self) -> str:
        """Which pair is ahead, or that the rows cannot tell, and how far the figures can be trusted."""
        clear = (self.behind > _CLEAR * self.behind_error) & (self.behind > 0)
        close = [name for name, one in zip(self.names, clear, strict=True) if not one]
        second = f"{float(self.behind[1]):.3g} ± {float(self.behind_error[1]):.2g} nats per datum before the next one"
        if len(close) == 1:
            said = f"{self.names[0]!r} is ahead: {second}."
        else:
            said = f"These {self.rows.shape[1]:,} rows cannot tell which of {', '.join(map(repr, close))} is best."
        if bool(self.unreliable.isnan().any()):
            said = f"{said} Whether the guides miss a posterior (khat), so few draws do not tell: take {_FEWEST_DRAWS}."
        doubtful = [name for name, share in zip(self.names, self.unreliable, strict=True) if share > 0]
        if not doubtful:
            return said
        return (
            f"{said} The evidence of {', '.join(map(repr, doubtful))} may be too low, since the guide misses the "
            "posterior of some rows (khat above 0.7): take more draws, or annealed importance sampling (ais)."
        )

    def __str__(self) -> str:
        """A table, and the verdict below it."""
        wide = max(len("pair"), *map(len, self.names))
        lines = [f"{'pair':<{wide}}  evidence   error  behind   error  khat > 0.7"]
        for name, *numbers, share in zip(self.names, *self[1:6], strict=True):
            cells = (f"{float(number):{width}.3f}" for number, width in zip(numbers, (8, 6, 6, 6), strict=True))
            lines.append("  ".join((f"{name:<{wide}}", *cells, f"{float(share):10.1%}")))
        return "\n".join([*lines, self.verdict])

    def plot(self) -> Any:
        """Draw how far each pair lies behind the best, with two standard errors.

        Returns:
            A matplotlib `Figure`.
        """
        figure, (axis,) = blank_figure()
        places = list(range(len(self.names)))
        axis.errorbar(self.behind, places, xerr=2 * self.behind_error, fmt="o", capsize=3)
        axis.axvline(0.0, color="grey", linestyle="--", linewidth=1)
        axis.set_yticks(places, self.names)
        axis.invert_yaxis()
        axis.set(xlabel="nats per datum behind the best (± 2 standard errors)")
        return figure


@in_turn
def compare(
    pairs: Mapping[str, HasPair],
    /,
    *data: Any,
    draws: int = 512,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Comparison:
    r"""Compare pairs by the evidence of the same rows, best rows that none of them was trained on.

    \[ \Delta = \frac1N \sum_n \big(\log p_1(x_n) - \log p_2(x_n)\big), \qquad \operatorname{se}(\Delta) =
    \frac{\operatorname{sd}_n\big(\log p_1(x_n) - \log p_2(x_n)\big)}{\sqrt N} \]

    Evidence counts what a model is: its likelihood, its prior and its size, and not how well its guide does (which
    says how good the estimate is, see `khat`). Only densities of the same data compare: a model of x against one of
    log x, or of grey values against binarised ones, has another unit.

    Args:
        pairs: what they are called, and the pairs. Parameters of one name in two pairs are refused: `own_store`.
        *data: the arguments of model and guide, N rows.
        draws: draws for each datum, of each pair.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the data, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        A `Comparison`.

    Raises:
        ArgumentError: fewer than two pairs.
        PairError: a pair whose rows have no evidence of their own, or that observes other numbers of them.

    Examples:
        >>> import torch, pyrovae as pv
        >>> weight = torch.tensor([[1.0], [2.0], [-1.0]])
        >>> one, other = (pv.truth.LinearGaussian(weight, torch.zeros(3), scale) for scale in (0.5, 0.52))
        >>> found = pv.compare({"one": one, "other": other}, one.sample(20, seed=0), draws=25)
        >>> found.behind.shape, found.rows.shape
        (torch.Size([2]), torch.Size([2, 20]))
    """
    if not isinstance(pairs, Mapping) or len(pairs) < 2:
        raise ArgumentError('compare takes two pairs or more with their names: compare({"a": pair_a, "b": pair_b}, x).')
    draws = check_count("draws", draws)
    observed: dict[str, tuple[str, torch.Tensor]] = {}
    found = []
    for name, pair in pairs.items():
        sampler = check_proper(of_each_datum(pair, data, named, seed, data_plate))
        _check_same_numbers(name, sampler, observed)
        found.append(_of_rows(sampler, draws))
    rows, khat = map(torch.stack, zip(*found, strict=True))
    doubtful = (khat > _TRUSTED).double()
    if draws < _FEWEST_DRAWS:
        doubtful[khat == math.inf] = math.nan  # no fit was made
    doubtful = doubtful.mean(1)
    if rows.shape[1] < _FEWEST:
        raise DataError("compare: one row has no spread, so that nothing says what is chance: give more rows.")
    order = rows.mean(1).argsort(descending=True, stable=True)
    rows, doubtful = rows[order], doubtful[order]
    gaps = rows[0] - rows
    return Comparison(
        tuple(list(pairs)[place] for place in order), *_mean(rows), *_mean(gaps), unreliable=doubtful, rows=rows
    )


def _check_same_numbers(name: str, sampler: Sampler, observed: dict[str, tuple[str, torch.Tensor]]) -> None:
    """Refuse a pair that observes other numbers in the same rows than one before it, which are noted in `observed`."""
    for site, node in samples(sampler.use.posterior_run.model):
        value: Any = node["value"]
        if not node["is_observed"] or node["mask"] is not None:
            continue  # what a mask hides may be anything
        before, numbers = observed.setdefault(site, (name, value.double()))
        if numbers.shape == value.shape and not same_numbers(numbers, value, rtol=1e-5, atol=1e-8):
            raise PairError(
                f"compare: {site!r} of {name!r} holds other numbers than {site!r} of {before!r} on the same rows "
                "(logarithms, say, standardised or binarised values), and densities in different units do not "
                "compare. Observe the same numbers in both: dist.LogNormal for a normal of log x, or a "
                "TransformedDistribution."
            )


def _of_rows(sampler: Sampler, draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The evidence and the khat of each row, from the same weights."""
    values, shapes = [], []
    for rows, weights in row_weights(sampler, draws):
        total = weights.logsumexp(0)
        check(total, rows)
        values.append(total - math.log(draws))
        shapes.append(torch.from_numpy(psislw(weights.T.numpy())[1]))
    return torch.cat(values), torch.cat(shapes)


def _mean(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over the rows and its standard error, each (pairs,)."""
    return rows.mean(1), rows.std(1) / rows.shape[1] ** 0.5
