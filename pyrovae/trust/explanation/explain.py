"""How much each cell of a datum contributes to what a pair says of it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrovae.data.rows_of_frames import frames_among
from pyrovae.data.whole_leaves import whole_leaves
from pyrovae.errors import ArgumentError, argument
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.pairs.with_schema import schema_of
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.use import arguments
from pyrovae.trust.explanation.absent_cells import AbsentCells, backgrounds
from pyrovae.trust.explanation.attributions import METHODS, attributed
from pyrovae.trust.explanation.captum_library import captum
from pyrovae.trust.explanation.cell_game import CellGame
from pyrovae.trust.explanation.explained_figures import ExplainedFigure, figure_of
from pyrovae.trust.explanation.explanation import Explanation
from pyrovae.trust.explanation.own_imputation import OwnImputation
from pyrovae.trust.explanation.players import Players
from pyrovae.trust.explanation.row_leaves import key_of, reference_rows, spread


@in_turn
def explain(
    pair: HasPair,
    /,
    *data: Any,
    of: Any = "evidence",
    method: str = "shapley",
    absent: Any = None,
    reference: Any = None,
    cells_of: int | str | None = None,
    groups: Any = None,
    draws: int = 32,
    repeats: int = 16,
    steps: int | None = None,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Explanation:
    r"""How much each cell of a datum contributes to a figure of it: evidence, novelty, a latent dimension, uncertainty.

    With v(S) the figure where the cells S alone are known, and d cells, the Shapley value of cell i is what it adds to
    those before it, averaged over all orders:

    \[ \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(d - |S| - 1)!}{d!} \big[v(S \cup i) - v(S)\big], \qquad
    \sum_i \phi_i = v(\text{all}) - v(\emptyset) \]

    Integrated gradients go along the straight line from a background b, \( \phi_i = (x_i - b_i) \int_0^1 \partial_i
    f(b + t (x - b))\, dt \); LIME fits a linear model to rows in which cells are absent at random. All figures of one
    repeat have the same random numbers, so that noise is not taken for importance; repeats have other ones, and from
    their spread comes the standard error.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        of: "evidence" (log p(x), as `log_evidence` has it), "elbo", "novelty" (minus the evidence), a latent site and
            one of its dimensions (`("z", 0)`, its posterior mean), a part of the predictive uncertainty
            (`("uncertainty", "aleatoric")`, as `uncertainty` has it, summed over what is observed), or a function of
            what `encode` returns that gives (rows,).
        method: "shapley", "integrated_gradients" or "lime".
        absent: what stands in the place of absent cells. "marginal": the cells of rows drawn from `reference`; so where
            it is left out with "shapley" and "lime". "imputed": draws of the pair given the known cells, p(x_h | x_S),
            so that no row is asked about that could not be (conditional Shapley values, on the manifold). "mean": that
            of `reference`; so where it is left out with "integrated_gradients". Or a baseline: a number, or numbers of
            the shape of a row.
        reference: rows of the usual kind, in the form of the data; left out, the data themselves.
        cells_of: the argument whose cells are explained, by place or name; left out, the first.
        groups: a whole number for each cell of a row: cells of one number are explained together (patches of an
            image).
        draws: of the guide for each value of the figure.
        repeats: how often all is drawn anew, 2 at least; Shapley values take two orders of the cells in each.
        steps: of the path with "integrated_gradients" (32), or rows with absent cells with "lime" (8 a cell and 16
            more).
        seed: of all draws; None goes on from the caller's random state (and leaves it as it was).
        data_plate: the plate of the rows, where it cannot be found.
        **named: keyword arguments of model and guide.

    Returns:
        An `Explanation`.

    Raises:
        ArgumentError: captum is not installed, no such figure or method, or rows that the pair does not take once cells
            are filled.
        PairError: the pair has no such figure of single rows.

    References:
        Lundberg and Lee, "A unified approach to interpreting model predictions" (2017); Sundararajan, Taly and Yan,
        "Axiomatic attribution for deep networks" (2017); Ribeiro, Singh and Guestrin, "Why should I trust you?" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.ones(3, 1), torch.zeros(3), 0.5)
        >>> found = pv.explain(truth, torch.tensor([[1.0, 1.0, -4.0]]), of="novelty", absent=0.0, draws=2, repeats=2)
        >>> int(found.contribution.argmax())
        2
    """
    captum()
    if method not in METHODS:
        raise ArgumentError(f"explain: {argument('method', method)}; give {', '.join(map(repr, METHODS))}.")
    draws, repeats = check_count("draws", draws), check_count("repeats", repeats, least=2)
    steps = None if steps is None else check_count("steps", steps)
    leaves = whole_leaves(arguments(pair, data, named))
    key = key_of(leaves, cells_of)
    sampler = Sampler.of(pair, *spread(leaves), seed=seed, data_plate=data_plate)
    figure, leaf = figure_of(of, sampler, draws), leaves[key]
    smooth = method == "integrated_gradients"
    absent = ("mean" if smooth else "marginal") if absent is None else absent
    if reference is None and len(leaf) == 1 and isinstance(absent, str) and absent in ("marginal", "mean"):
        raise ArgumentError(
            f"explain: {argument('absent', absent)} puts cells of other rows in the place of a row's own, and there is "
            f"this row alone. Give rows of the usual kind ({argument('reference')}), or a baseline in numbers."
        )
    usual = reference_rows(pair, reference, key, leaf)
    if smooth:
        _check_path(figure, leaf, absent)
    if isinstance(absent, str) and absent == "imputed":
        fill: AbsentCells = OwnImputation(pair, leaves, key, usual, seed=sampler.seed, data_plate=data_plate)
    else:
        fill = backgrounds(leaf, absent, usual)
    players = Players.of(leaf.shape[1:], groups)
    shares, ends = [], []
    for repeat in range(repeats):
        here = seed_for(sampler.seed, "explain", repeat)
        game = CellGame(sampler, figure, leaves, key, players, fill, seed=here, validated=not smooth)
        with forked_random(seed_for(here, "orders")):
            shares.append(attributed(method, game, steps).double())
        ends.append(torch.stack([game.whole(), game.empty()]))
    fill.tell()
    frames = frames_among(named or (data[0] if len(data) == 1 and isinstance(data[0], dict) else data))
    columns: Any = schema_of(pair).columns if key in frames else ()  # pyright: ignore - who gives a frame has one
    names = tuple(one.name for one in columns if hasattr(one, "name")) or None  # the places of a line have none
    words = Asked(figure.words, method, absent if isinstance(absent, str) else "baseline", names)
    return _explanation(torch.stack(shares), torch.stack(ends).mean(0), players, words)


class Asked(NamedTuple):
    """What was asked for."""

    of: str
    method: str
    absent: str
    names: tuple[str, ...] | None


def _explanation(shares: Tensor, ends: Tensor, players: Players, words: Asked) -> Explanation:
    mean, error = shares.mean(0), shares.std(0) / math.sqrt(len(shares))
    value, base = ends
    left = value - base - mean.sum(1)
    return Explanation(players.as_given(mean), players.as_given(error), value, base, left, *words, players.places())


def _check_path(figure: ExplainedFigure, leaf: Tensor, absent: Any) -> None:
    if isinstance(absent, str) and absent == "imputed":
        raise ArgumentError(
            f"explain: integrated gradients go along a line from a background, and {argument('absent', absent)} is "
            "none: it is another one for each set of known cells. Give 'mean', 'marginal' or a baseline."
        )
    if not figure.has_gradient:
        raise ArgumentError(
            f"explain: the {figure.words} is a spread of draws, of which no gradient is taken; give "
            f"{argument('method', 'shapley')} or 'lime'."
        )
    if not leaf.is_floating_point():
        raise ArgumentError(
            "explain: integrated gradients go along a line, on which whole numbers do not lie; give "
            f"{argument('method', 'shapley')} or 'lime', or the data as floating numbers."
        )
