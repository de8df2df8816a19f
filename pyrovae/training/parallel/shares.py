"""Each process's share of a batch, and the weight that makes the average over processes that of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, DataError
from pyrovae.objectives.figures import SHARE
from pyrovae.objectives.record import Recorded
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.pair import HasPair, Side, Wrapped
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.subsample_scale import subsample_scale
from pyrovae.pairs.trace import run, samples
from pyrovae.training.parallel.team import SingleProcess


class SiteWeight(NamedTuple):
    """By what a site is scaled in the loss, and in the figures."""

    loss: float
    plain: float


class _Scales(NamedTuple):
    """What a site's scale is, and that of its plates alone; the shape of its values; whether it stands in the plate."""

    all: float
    plates: float
    shape: Any
    local: bool


class Share(NamedTuple):
    """The weights of one process's part of a batch."""

    whole: float  # by which gradients and the loss are multiplied before they are averaged
    plain: float  # by which the other figures are, which do not have the author's scales
    sites: Mapping[str, SiteWeight]  # by which single sites are scaled instead, where some are global
    size: float  # the size of the data plate in the part, over its size in the whole


def share_of(batch: Batch, team: SingleProcess) -> Batch:
    """This process's rows of a batch: as equal parts as can be, in order."""
    if team.size == 1:
        return batch
    rows = batch.rows
    if rows < team.size:
        raise DataError(
            f"a batch of {rows} rows cannot be shared by {team.size} processes. Choose a batch size that leaves no "
            "such batch at the end, or start fewer processes."
        )
    start, end = (rows * rank // team.size for rank in (team.rank, team.rank + 1))
    part = slice(start, end)
    leaves = {name: leaf[part] for name, leaf in batch.leaves.items()}
    return Batch.of(leaves)._replace(positions=None if batch.positions is None else batch.positions[part])


class Shares:
    """The shares of all batch sizes, found by running the pair once on a whole batch and once on the part.

    A plate of a fixed size scales a smaller batch up, a plate without one does not, and an author may scale as he
    likes: what each site's scale is in both runs decides.
    """

    def __init__(self, pair: HasPair, structure: Structure, team: SingleProcess):
        self.pair = pair
        self.team = team
        self.data_plate = structure.data_plate
        self.global_sites: frozenset[str] = frozenset()  # latent ones that all rows have in common
        self._latent = {name for name, site in structure.sites.items() if site.role in ("latent", "auxiliary")}
        self._known: dict[tuple[int, int], Share] = {}

    def find(self, whole: Batch, part: Batch, place: Callable[[Batch], Batch]) -> Share:
        """The weights of this process's part of a batch.

        Args:
            whole: the batch.
            part: this process's rows, on the device.
            place: brings a batch there.
        """
        key = (whole.rows, part.rows)
        if key not in self._known:
            self._known[key] = self._measure(place(whole), part)
        return self._known[key]

    def _measure(self, whole: Batch, part: Batch) -> Share:
        (before, size), (after, part_size) = self._scales(whole), self._scales(part)
        weights, common = {}, set()
        for name, one in after.items():
            follows, whole_one = one.local or one.shape != before[name].shape, before[name]
            times = self.team.size if follows else 1.0
            weights[name] = SiteWeight(times * whole_one.all / one.all, times * whole_one.plates / one.plates)
            common |= set() if follows else {name} & self._latent
        self.global_sites = frozenset(common)
        ratio = part_size / size
        if len(set(weights.values())) == 1:
            weight = next(iter(weights.values()))
            return Share(weight.loss, weight.plain, {}, ratio)
        return Share(1.0, 1.0, weights, ratio)

    def _scales(self, batch: Batch) -> tuple[dict[str, _Scales], float]:
        recorded = Recorded(self.pair, data_plate=self.data_plate)
        try:
            with isolated(0), torch.no_grad():
                traces = run(recorded, batch.args, batch.kwargs)
                size = recorded.size()
        except Exception as error:
            raise ArgumentError(
                f"the pair does not run on a part of a batch ({batch.rows} rows): {type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}. Train it in one process."
            ) from error
        found = {}
        for trace in traces:
            for name, node in samples(trace):
                inside = any(frame.name == self.data_plate for frame in node["cond_indep_stack"])
                found[name] = _Scales(_number(node["scale"]), subsample_scale(node), node["fn"].shape(), inside)
        return found, size


def _number(scale: Any) -> float:
    """A scale as one number; rows with scales of their own keep them."""
    return float(scale) if not isinstance(scale, torch.Tensor) or scale.numel() == 1 else 1.0


class Weighted(Wrapped):
    """A pair whose sites are scaled by the weights of a share; see `Share.sites`."""

    def __init__(self, pair: HasPair):
        self.pair = pair
        self.weights: Mapping[str, SiteWeight] = {}

    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Messenger:
        """The weights, around both sides."""
        return _Scale(self.weights)


class _Scale(Messenger):
    def __init__(self, weights: Mapping[str, SiteWeight]):
        super().__init__()
        self.weights = weights

    def _pyro_sample(self, msg: Any) -> None:
        weight = self.weights.get(msg["name"])
        if weight is not None and not site_is_subsample(msg):
            msg["scale"] = msg["scale"] * weight.loss
            msg[SHARE] = weight.plain
