"""What was learned as the next prior: a model whose global sites have the former guide's posterior as their prior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyrovae.errors import PairError
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair, Side, Wrapped, guide_function
from pyrovae.pairs.structure import Structure, inspect
from pyrovae.pairs.trace import batch_rows, run, samples, unconstrained, with_rows
from pyrovae.sampling.use import arguments
from pyrovae.trust.epistemic.few_rows import few_rows
from pyrovae.trust.epistemic.weights import Weights
from pyrovae.trust.epistemic.whole_data import plate_of_whole_data, whole_size


class FormerWeights(nn.Module):
    """The weights of a guide as they were."""

    vector: Tensor

    def __init__(self, vector: Tensor):
        super().__init__()
        self.register_buffer("vector", vector.clone())

    def forward(self) -> Tensor:
        """The weights."""
        return self.vector


class CarriedOver(Wrapped):
    r"""A pair on further data: \( p'(w, z, x) = q(w)\, p(z, x \mid w) \), with the guide's q as it was.

    The former guide's own code draws the global sites in the model, so any guide will do: dependent sites, autoguides
    and flows too. What an autoguide calls auxiliary is then a latent site of the model.

    Args:
        pair: the pair; its guide is trained on from where it is.
        weights: the guide's parameters.
        former: their values as they were.
        sites: the global sites that the guide draws, auxiliary ones too.
        data_plate: the plate of the data.
        size: rows of the new data.
    """

    def __init__(
        self,
        pair: HasPair,
        weights: Weights | None,
        former: FormerWeights,
        sites: set[str],
        *,
        data_plate: str | None,
        size: int,
    ):
        self.pair, self.weights, self.former, self.sites = pair, weights, former, sites
        self.data_plate, self.size = data_plate, size

    @classmethod
    def of(
        cls, pair: HasPair, args: tuple, kwargs: Mapping[str, Any], *, size: int, data_plate: str | None
    ) -> CarriedOver:
        """Carry the posterior of a pair over to other data; of one that was carried over before, the newest."""
        base = pair.pair if isinstance(pair, CarriedOver) else pair
        structure = inspect(base, args, kwargs, data_plate=data_plate)
        sites = {s.name for s in structure.sites.values() if s.role in ("latent", "auxiliary") and not s.local}
        if not any(structure.sites[name].role == "latent" for name in sites):
            raise PairError(
                "the guide has no global latent site, so there is no posterior to become the next prior. "
                "pyrovae.epistemic.bayesian_weights makes a pair with one out of this one."
            )
        _check_free_of_data(base, structure, sites, args, kwargs)
        guided = _guide_parameters(base, structure, args, kwargs)
        weights = Weights.of(base, args, kwargs, lambda *_: guided) if guided else None
        former = FormerWeights(weights.vector() if weights else torch.zeros(0))
        return cls(base, weights, former, sites, data_plate=structure.data_plate, size=size)

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The new data's size around both sides, and global sites from the former guide around the model."""
        handler = _Latent(self.sites) if side == "guide" else _Known(self._from_former_guide(args, kwargs))
        with plate_of_whole_data(self.data_plate, self.size, always=True), handler:
            yield

    def _from_former_guide(self, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        with poutine.block(hide_fn=lambda msg: msg["name"] not in self.sites), _Latent(self.sites):
            vector = self.former()
            if self.weights is None:
                trace = poutine.trace(guide_function(self.pair)).get_trace(*args, **kwargs)
            else:
                with self.weights.replaced(vector):
                    trace = poutine.trace(guide_function(self.pair)).get_trace(*args, **kwargs)
        return {name: node["value"] for name, node in samples(trace) if name in self.sites}


class _Fixed(Messenger):
    """Sites that take given values in the place of draws."""

    hides = False

    def __init__(self, values: Mapping[str, Tensor]):
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"], msg["done"], msg["stop"] = self.values[msg["name"]], True, self.hides


class _Known(_Fixed):
    """Values of sites that stand elsewhere already; the handlers outside do not see them a second time."""

    hides = True


class _Latent(Messenger):
    """Auxiliary sites of a guide as latent ones: the model has them, too."""

    def __init__(self, sites: set[str]):
        super().__init__()
        self.sites = sites

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.sites and (msg["infer"] or {}).get("is_auxiliary"):
            msg["infer"] = {**msg["infer"], "is_auxiliary": False}


def _guide_parameters(pair: HasPair, structure: Structure, args: tuple, kwargs: Mapping[str, Any]) -> list[str]:
    with isolated(0):
        trace = poutine.trace(guide_function(pair)).get_trace(*args, **kwargs)
    tensors = {id(unconstrained(node["value"])) for node in trace.nodes.values() if node["type"] == "param"}
    return [name for name, tensor in structure.parameters.items() if id(tensor) in tensors]


def _check_free_of_data(
    pair: HasPair, structure: Structure, sites: set[str], args: tuple, kwargs: Mapping[str, Any]
) -> None:
    """A posterior that the guide reads off its data is gone once it is given other data."""
    rows = batch_rows(args, kwargs) or 0
    fewer = with_rows(args, kwargs, rows - 1) if rows > 1 else (args, kwargs)
    with isolated(0), torch.no_grad():
        one = run(pair, args, kwargs).guide
        known: Any = {name: node["value"] for name, node in samples(one) if name in sites}
        other = poutine.trace(_Fixed(known)(guide_function(pair))).get_trace(*fewer[0], **fewer[1])
        for name in sites & set(other.nodes) & set(one.nodes):
            node: Any = one.nodes[name]
            again: Any = other.nodes[name]
            if type(node["fn"]).__name__ == "Delta":
                continue
            if not torch.equal(node["fn"].log_prob(node["value"]), again["fn"].log_prob(node["value"])):
                raise PairError(
                    f"the guide computes the posterior of the global site {name!r} from the rows that it is given, so "
                    "it cannot be carried over to other rows. Give the guide parameters for it."
                )


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
    batch, rows = few_rows(pair, arguments(pair, data, named))
    size = whole_size(size, rows)
    return CarriedOver.of(pair, *batch[:2], size=size, data_plate=data_plate)
