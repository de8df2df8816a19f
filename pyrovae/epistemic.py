"""Ways to know what a pair does not know of its weights: each gives a pair whose guide has a global site.

Whatever takes a pair takes these: `uncertainty` has an epistemic part, predictions draw weights, `fit`, `save` and
`load` work as with any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyrovae.batches import Batch, as_batches
from pyrovae.checkpoints import born, remember
from pyrovae.errors import ArgumentError, PairError
from pyrovae.isolation import forked_random, forked_store
from pyrovae.pairs import HasPair, Structure, inspect
from pyrovae.placement import placed
from pyrovae.sources import CarriedOver, Dropped, Members, Path, Uncertain, Weights, bayesian, free_name
from pyrovae.traces import arguments, check_counts
from pyrovae.training import Fit, fit, steps

__all__ = ["bayesian_weights", "carry_over", "dropout", "ensemble", "swag"]

_FEW = 8  # rows that a pair is looked at with


def bayesian_weights(
    pair: HasPair,
    /,
    *data: Any,
    parameters: Any = None,
    rank: int = 0,
    prior_scale: float = 1.0,
    scale: float = 0.01,
    size: int | None = None,
    data_plate: str | None = None,
    **named: Any,
) -> HasPair:
    r"""Give weights of a pair a prior, and a normal posterior that `fit` trains.

    \[ w \sim \mathcal N(0, s^2 I), \qquad q(w) = \mathcal N(\mu, U U^\top + \operatorname{diag}(\sigma^2)) \]

    The other parameters stay as they are, and are trained along. The KL of w is weighed against the whole data, also
    where the pair's plate holds a batch.

    Args:
        pair: any pair. A trained one starts from its weights.
        *data: the arguments of model and guide; their number of rows is that of the whole data.
        parameters: patterns of names such as "decoder.*", or modules; left out, all that the observed sites depend on,
            given the latent ones: of a VAE, the decoder.
        rank: columns of U; 0 for a posterior of independent weights.
        prior_scale: s. 1 suits inputs of unit scale and layers of some tens of units; wide layers may want less.
        scale: σ to start from: small, so that training starts as that of single weights does.
        size: rows of the whole data, where `data` are some of them.
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **named: keyword arguments of model and guide.

    Returns:
        A pair with the global site `weights`, to be trained by `fit`. The given pair's own weights stay as they are.

    References:
        Blundell et al., "Weight uncertainty in neural networks" (2015).

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(200, 3) + 2
        >>> vae = pv.VAE(pv.StandardNormal(1), pv.Normal(pv.MLP(1, [], 3), scale=1.0), pv.DiagNormal(pv.MLP(3, [], 2)))
        >>> pair = pv.epistemic.bayesian_weights(vae, x)
        >>> run = pv.fit(pair, x, epochs=200, learning_rate=0.02, seed=0, progress=False)
        >>> u = pv.uncertainty(pair, x, draws=(50, 20))["x"]
        >>> 0.001 < u.epistemic.mean() < 0.1
        tensor(True)
    """
    batch, rows = _looked_at(pair, arguments(data, named))
    size = _size(size, rows)
    options = {"parameters": parameters, "rank": rank, "prior_scale": prior_scale, "scale": scale}
    return bayesian(pair, *batch[:2], size=size, data_plate=data_plate, **options)


def dropout(
    pair: HasPair, /, *data: Any, modules: nn.Module | Sequence[nn.Module] | None = None, **named: Any
) -> HasPair:
    r"""Leave dropout on in predictions: one mask for each global draw, the same for all data.

    \[ m_j \sim \text{Bernoulli}(1 - p), \qquad h \mapsto h \odot m / (1 - p) \]

    A pair that was trained with dropout was trained for this. In train mode the modules drop as they always do.

    Args:
        pair: any pair with `torch.nn.Dropout` modules (or `Dropout1d`, `2d`, `3d`, whose masks drop channels).
        *data: the arguments of model and guide: all rows that the pair will be trained on, or a few where it is trained
            already.
        modules: where to look for dropout modules; left out, those that the model calls.
        **named: keyword arguments of model and guide.

    Returns:
        A pair with the global sites `dropout_0`, `dropout_1`, ...

    References:
        Gal and Ghahramani, "Dropout as a Bayesian approximation" (2016).

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> decoder = torch.nn.Sequential(torch.nn.Linear(2, 20), torch.nn.Dropout(0.1), torch.nn.Linear(20, 5))
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(decoder), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pair = pv.epistemic.dropout(vae, torch.ones(8, 5))
        >>> (pv.uncertainty(pair, torch.ones(8, 5))["x"].epistemic > 0).all()
        tensor(True)
    """
    batch, rows = _looked_at(pair, arguments(data, named))
    chosen = [modules] if isinstance(modules, nn.Module) else modules
    return Dropped.of(pair, *batch[:2], modules=chosen, size=rows)


def ensemble(
    make_pair: Callable[[], HasPair], data: Any, /, *, members: int = 5, seed: int = 0, **options: Any
) -> HasPair:
    r"""Train several pairs from different starts; the global site is the number of the member.

    \[ k \sim \text{Uniform}\{1, \dots, K\}, \qquad p(x, z \mid k) = p_{\theta_k}(x, z), \quad q(z \mid x, k) =
    q_{\phi_k}(z \mid x) \]

    Args:
        make_pair: returns a new pair, of the same architecture each time.
        data: as in `fit`.
        members: K.
        seed: member k is made and trained with `seed + k`.
        **options: those of `fit`. Without any nothing is trained: a pair to load a saved ensemble into.

    Returns:
        A pair with the global site `member`. Its weights are copies; further training by `fit` trains a member
        drawn at random in each step.

    References:
        Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles" (2017).

    Examples:
        >>> import torch, pyrovae as pv
        >>> def new():
        ...     return pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pair = pv.epistemic.ensemble(new, torch.ones(100, 5), members=3, epochs=2, progress=False)
        >>> sorted(set(pv.uncertainty(pair, torch.ones(4, 5))))
        ['x']
    """
    check_counts(least=2, members=members)
    first: _Member | None = None
    sets = []
    for number in range(members):
        # Pyro's store holds one pair under a name: all members but the first live in an empty one.
        with forked_store(empty=True) if number else nullcontext(), forked_random(seed + number):
            member = _Member.made(make_pair, data, seed + number, options)
            first = first or member
            _check_alike(first.weights, member.weights, number)
            sets.append((member.weights.vector(), [buffer.clone() for buffer in member.weights.buffers.values()]))
    assert first is not None
    vectors, buffers = zip(*sets, strict=True)
    law = Members(torch.stack(vectors), [torch.stack(values) for values in zip(*buffers, strict=True)])
    return _uncertain(first, law, "member")


class _Member(NamedTuple):
    """A pair and its weights, and the structure and number of its data."""

    pair: HasPair
    weights: Weights
    structure: Structure
    rows: int | None

    @classmethod
    def of(cls, pair: HasPair, data: Any) -> _Member:
        batch, rows = _looked_at(pair, data)
        return cls(pair, Weights.of(pair, *batch[:2]), inspect(pair, *batch[:2]), rows)

    @classmethod
    def made(cls, make_pair: Callable[[], HasPair], data: Any, seed: int, options: dict[str, Any]) -> _Member:
        pair = make_pair()
        if options:
            fit(pair, data, **{**options, "seed": seed})
        return cls.of(pair, data)


def _uncertain(known: _Member, law: nn.Module, site: str) -> Uncertain:
    structure = known.structure
    name = free_name(site, structure.sites)
    return Uncertain(known.pair, known.weights, law, site=name, data_plate=structure.data_plate, size=known.rows)


def _check_alike(one: Weights, other: Weights, number: int) -> None:
    shapes = [{name: t.shape for name, t in zip(w.names, w.tensors, strict=True)} for w in (one, other)]
    if shapes[0] != shapes[1]:
        raise PairError(
            f"member {number} has other parameters than member 0: make_pair must return the same architecture each "
            "time."
        )


def swag(pair: HasPair, data: Any, /, *, rank: int = 20, every: int | None = None, **options: Any) -> HasPair:
    r"""Train a pair on, and take the moments of its weights along the way for their posterior.

    \[ q(w) = \mathcal N\Big(\bar w, \tfrac12 \operatorname{diag}(\overline{w^2} - \bar w^2) +
    \tfrac{1}{2 (K - 1)} D D^\top\Big) \]

    Args:
        pair: any pair, trained before. It is trained on in place, and holds the mean of the path afterwards.
        data: as in `fit`.
        rank: K, how many of the last sets of weights are kept; 0 or 1 for a diagonal.
        every: steps from one set to the next; left out, an epoch.
        **options: those of `fit`; a constant learning rate, larger than one would end a training with, makes the path
            explore. Without any nothing is trained: a pair to load a saved one into.

    Returns:
        A pair with the global site `weights`, whose prior and posterior are alike.

    References:
        Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> _ = torch.manual_seed(0)
        >>> x = torch.poisson(torch.full((200, 5), 3.0))
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> _ = pv.fit(vae, x, epochs=50, learning_rate=0.01, seed=0, progress=False)
        >>> pair = pv.epistemic.swag(vae, x, epochs=20, learning_rate=0.01, seed=0)
        >>> (pv.uncertainty(pair, x[:4], draws=500)["x"].epistemic > 0).all()
        tensor(True)
    """
    check_counts(least=0, rank=rank)
    check_counts(every=1 if every is None else every)
    moments: _Moments | None = None
    for vector in _path(pair, data, every, options):
        moments = moments or _Moments(vector, rank)
        moments.add(vector)
    known = _Member.of(pair, data)
    if moments is None:
        moments = _Moments(known.weights.vector(), rank)
        moments.add(known.weights.vector())
    elif moments.count < 2:
        raise ArgumentError(
            "the path holds one set of weights, which has no spread: give more epochs, or a smaller every=."
        )
    known.weights.write(moments.mean)
    return _uncertain(known, moments.law(), "weights")


def _path(pair: HasPair, data: Any, every: int | None, options: dict[str, Any]) -> Iterator[Tensor]:
    """The weights once an epoch, or once every so many steps."""
    if not options:
        return
    weights: Weights | None = None
    epoch = 0
    for step in steps(pair, data, **{name: value for name, value in options.items() if name != "progress"}):
        # An epoch's end shows at the next one's first step; lazy parameters exist by then, too.
        due = (step.index + 1) % every == 0 if every else step.epoch != epoch
        weights = weights or _Member.of(pair, data).weights
        epoch = step.epoch
        if due:
            yield weights.vector()
    if weights is not None and not every:
        yield weights.vector()


class _Moments:
    """Running mean and squared deviations, and the last few deviations from the running mean."""

    def __init__(self, like: Tensor, rank: int):
        self.count, self.rank, self.like = 0, rank, like
        self.mean = torch.zeros_like(like, dtype=torch.double)
        self.squares = torch.zeros_like(self.mean)
        self.deviations: list[Tensor] = []

    def add(self, vector: Tensor) -> None:
        """One more set of weights."""
        self.count += 1
        before = vector.double() - self.mean
        self.mean = self.mean + before / self.count
        after = vector.double() - self.mean
        self.squares = self.squares + before * after
        self.deviations = [*self.deviations, after][-self.rank :] if self.rank else []

    def law(self) -> Path:
        """The normal of these moments; its shape does not depend on how many sets there were."""
        missing = [torch.zeros_like(self.mean)] * (self.rank - len(self.deviations))
        columns = [*missing, *self.deviations]
        deviations = torch.stack(columns, 1) if columns else torch.zeros(len(self.mean), 0)
        # Zero columns stand for sets that were not there: the divisor counts those that were.
        known = max(len(self.deviations), 2) - 1
        deviations = deviations * ((max(self.rank, 2) - 1) / known) ** 0.5
        return Path(self.mean.to(self.like), (self.squares / self.count).to(self.like), deviations.to(self.like))


def carry_over(
    pair: HasPair, /, *data: Any, size: int | None = None, data_plate: str | None = None, **named: Any
) -> HasPair:
    r"""A pair for new data whose prior of the global sites is the posterior that this pair's guide has now.

    \[ p'(w, z, x) = q(w)\, p(z, x \mid w) \]

    Args:
        pair: a pair with global sites whose posterior does not depend on the rows given.
        *data: the new data, as model and guide take them.
        size: rows of the new data, where `data` are some of them.
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **named: keyword arguments of model and guide.

    Returns:
        A pair that shares the given one's parameters, and is to be trained on the new data: see `update`.

    Examples:
        >>> import torch, pyrovae as pv
        >>> pair = pv.truth.GammaPoisson(2.0, 1.0).trainable()
        >>> _ = pv.fit(pair, torch.tensor([3.0, 5.0]), steps=10, progress=False)
        >>> next_pair = pv.epistemic.carry_over(pair, torch.tensor([4.0]))
    """
    batch, rows = _looked_at(pair, arguments(data, named))
    size = _size(size, rows)
    return CarriedOver.of(pair, *batch[:2], size=size, data_plate=data_plate)


def update(
    pair: HasPair, data: Any, /, *, size: int | None = None, data_plate: str | None = None, **options: Any
) -> Fit:
    r"""Learn from new data alone: what the pair knows of its global sites becomes their prior.

    \[ p(w \mid x_{\text{old}}, x_{\text{new}}) \propto p(w \mid x_{\text{old}})\, p(x_{\text{new}} \mid w) \]

    Args:
        pair: a trained pair with global sites; its parameters are trained on, in place.
        data: the new data, as in `fit`.
        size: their number of rows, where they have no length.
        data_plate: the name of the plate that holds the data, where several follow the batch.
        **options: those of `fit`.

    Returns:
        A `Fit` whose `.pair` has the former posterior as its prior; update that one the next time.

    References:
        Nguyen et al., "Variational continual learning" (2018).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.GammaPoisson(2.0, 1.0)
        >>> pair, rate = truth.trainable(), pv.cosine(0.05, 0.0, steps=800)
        >>> first = pv.fit(pair, torch.tensor([3.0, 5.0]), steps=800, learning_rate=rate, seed=0, progress=False)
        >>> second = pv.update(first.pair, torch.tensor([9.0]), steps=800, learning_rate=rate, seed=0, progress=False)
        >>> found, exact = pair.guide.posterior(), truth.posterior(torch.tensor([3.0, 5.0, 9.0]))
        >>> bool((found.mean - exact.mean).abs() < 0.3 * exact.stddev)
        True
    """
    given = tuple(data) if isinstance(data, tuple | list) else data
    named = given if isinstance(given, dict) else {}
    args = () if named else given if isinstance(given, tuple) else (given,)
    return fit(
        carry_over(pair, *args, size=size, data_plate=data_plate, **named), data, data_plate=data_plate, **options
    )


def _size(size: Any, rows: int | None) -> int:
    size = rows if size is None else size
    if size is None:
        raise ArgumentError("size=: these data do not say how many rows they have, and a prior is weighed against all.")
    check_counts(size=size)
    return size


def _looked_at(pair: HasPair, data: Any) -> tuple[Batch, int | None]:
    """A few rows as the pair takes them, and how many rows there are; parameters of a first call exist afterwards."""
    batches = as_batches(data[0] if isinstance(data, tuple) and len(data) == 1 else data)
    counts = (
        dict.fromkeys([min(_FEW, batches.rows), batches.rows]) if batches.random_access and batches.rows else [None]
    )
    refused: PairError | None = None
    for count in counts:  # a pair with one parameter for each row takes all of them or none
        first = batches.first(count)
        try:
            born(pair, first)
        except PairError as error:
            refused = error
            continue
        remember(pair, first)
        return placed(pair, first).place(first), batches.rows
    assert refused is not None
    raise refused
