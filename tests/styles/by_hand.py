"""Figures of a pair in plain Pyro: runs of the guide, and of the model replayed against them, draw by draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.infer import TraceEnum_ELBO, infer_discrete
from pyro.poutine.guide import GuideMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor

from styles.style import Made, Style


class _Unweighted(Messenger):
    """Without the scales of the author; on all rows at once a subsample has none."""

    def _pyro_sample(self, msg):
        msg["scale"] = 1.0


class _Unobserved(Messenger):
    """What was given is drawn."""

    def _pyro_sample(self, msg):
        if is_data(msg):
            msg.update(is_observed=False, value=None, done=False)


class _RowsOnly(Messenger):
    """Of what stands in a plate, some rows only."""

    def __init__(self, plate: str, rows: Tensor):
        super().__init__()
        self.plate, self.rows = plate, rows

    def _pyro_sample(self, msg):
        for frame in msg["cond_indep_stack"]:
            if frame.name == self.plate:
                mask = self.rows.reshape(-1, *[1] * (-frame.dim - 1))
                msg["mask"] = mask if msg["mask"] is None else mask & msg["mask"]


def _ordinary(guide: Any) -> Any:
    """A guide that runs the model itself, without what is observed there."""
    if not isinstance(guide, GuideMessenger):
        return guide
    return poutine.block(guide, hide_fn=lambda msg: msg["type"] == "sample" and msg["is_observed"])


def is_data(node: Any) -> bool:
    """Whether a site is observed, and no factor, no deterministic and no choice of a subsample."""
    if node["type"] != "sample" or not node["is_observed"] or _is_computed(node):
        return False
    return type(node["fn"]).__name__ not in ("Unit", "_Subsample") and not node["infer"].get("_deterministic")


def _is_computed(node: Any) -> bool:
    """Whether a reparametrisation put the site there: a point that nothing is scored at."""
    return isinstance(getattr(node["fn"], "base_dist", None), Delta)


class Draw(NamedTuple):
    """One draw of everything: the traces of guide and model, its weight of each row and that of what is shared."""

    guide: Any
    model: Any
    rows: Tensor
    shared: Tensor


class ByHand:
    """Draws from a trained pair."""

    def __init__(self, style: Style, made: Made):
        self.style, self.data = style, made.data
        self.modules = made.modules
        self.model, self.guide = _Unweighted()(made.pair.model), _Unweighted()(_ordinary(made.pair.guide))

    @contextmanager
    def quiet(self, seed: int) -> Iterator[None]:
        """Eval mode, no gradients, a seed."""
        before = [module.training for module in self.modules]
        pyro.set_rng_seed(seed)
        try:
            for module in self.modules:
                module.eval()
            with torch.no_grad():
                yield
        finally:
            for module, mode in zip(self.modules, before, strict=True):
                module.train(mode)

    def draws(self, count: int, *, seed: int = 100) -> list[Draw]:
        """Draws of guide and model."""
        with self.quiet(seed):
            return [self.draw() for _ in range(count)]

    def draw(self) -> Draw:
        """The guide, and the model replayed against it."""
        guide = poutine.trace(self.guide).get_trace(*self.data)
        model = poutine.trace(self.replayed(guide)).get_trace(*self.data)
        model.compute_log_prob()
        return Draw(guide, model, *self.weights(guide, model))

    def replayed(self, guide: Any) -> Any:
        """The model against what the guide drew; what it sums out is drawn from its posterior."""
        model = poutine.replay(self.model, trace=guide)
        if not self.style.enumerates:
            return model
        return infer_discrete(model, first_available_dim=-1 - self.style.nesting, temperature=1)

    # --- weights ------------------------------------------------------------------------------------------

    def weights(self, guide: Any, model: Any) -> tuple[Tensor, Tensor]:
        """log p - log q of each row, and of what belongs to no row."""
        if self.style.enumerates:
            return self._summed_out(guide)
        rows, shared = torch.zeros(self.rows(model), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        guide.compute_log_prob()
        for trace, sign in ((model, 1), (guide, -1)):
            for node in trace.nodes.values():
                if node["type"] == "sample" and (sign > 0 or not node["is_observed"]):
                    here, term = self.axis(node), node["log_prob"].double()
                    if here is None:
                        shared = shared + sign * term.sum()
                    else:
                        rows = rows + sign * by_row(term, here, len(rows))
        return rows, shared

    def axis(self, node: Any) -> int | None:
        """Where the rows stand in a site's batch shape."""
        return next((frame.dim for frame in node["cond_indep_stack"] if frame.name == self.style.plate), None)

    def rows(self, model: Any) -> int:
        """The number of rows, 0 where no plate holds them."""
        frames = (frame for node in model.nodes.values() for frame in node.get("cond_indep_stack", ()))
        return next((frame.size for frame in frames if frame.name == self.style.plate), 0)

    def _summed_out(self, guide: Any) -> tuple[Tensor, Tensor]:
        count = self.rows(guide) or self.rows(poutine.trace(self.model).get_trace(*self.data))
        given = poutine.replay(self.guide, trace=guide)  # replayed sites are not enumerated
        elbo = TraceEnum_ELBO(max_plate_nesting=self.style.nesting)
        if not count:
            return torch.zeros(0), torch.tensor(-elbo.loss(self.model, given, *self.data))
        masks = [torch.zeros(count, dtype=torch.bool), *torch.eye(count, dtype=torch.bool)]
        found = []
        for mask in masks:
            only = _RowsOnly(self.style.plate, mask)
            found.append(-elbo.loss(only(self.model), only(given), *self.data))
        shared, *rows = torch.tensor(found, dtype=torch.float64)
        return torch.stack(rows) - shared, shared

    # --- what is drawn anew ---------------------------------------------------------------------------------

    def predicted(self, draw: Draw) -> dict[str, Tensor]:
        """The observed sites, drawn anew at a draw."""
        latents = draw.model.copy()
        for name in [name for name, node in latents.nodes.items() if is_data(node)]:
            latents.remove_node(name)
        model = poutine.trace(_Unobserved()(poutine.replay(self.model, trace=latents))).get_trace(*self.data)
        merged = {name: name.removesuffix("_observed") for name in data_sites(draw.model)}
        return {name: model.nodes[whole]["value"] for name, whole in merged.items()}


def data_sites(model: Any) -> list[str]:
    """The names of the observed sites."""
    return [name for name, node in model.nodes.items() if is_data(node)]


def by_row(term: Tensor, axis: int, rows: int) -> Tensor:
    """A term of a batch shape as a sum for each row."""
    if term.ndim < -axis:
        return term.sum().expand(rows) if term.ndim == 0 else term.reshape(-1).expand(rows)
    rest = [place for place in range(-term.ndim, 0) if place != axis]
    return (term.sum(rest) if rest else term).expand(rows)


class Split(NamedTuple):
    """Noise, latent and epistemic part of a predictive variance or entropy, each summed over a site."""

    aleatoric: Tensor
    latent: Tensor
    epistemic: Tensor


BLOCKS = 10  # of local draws that are left out in turn where nothing is shared


def uncertainty(hand: ByHand, grid: tuple[int, int], *, seed: int) -> dict[str, tuple[Split, Split]]:
    """The parts of each observed site on a grid of shared by local draws, and their errors by the jackknife."""
    sites: dict[str, list[Any]] = {}
    with hand.quiet(seed):
        for _ in range(grid[0]):
            shared = _shared(hand, poutine.trace(hand.guide).get_trace(*hand.data))
            for _ in range(grid[1]):
                guide = poutine.trace(poutine.replay(hand.guide, trace=shared)).get_trace(*hand.data)
                model = poutine.trace(hand.replayed(guide)).get_trace(*hand.data)
                for name in data_sites(model):
                    sites.setdefault(name, []).append(_statistics(model.nodes[name]["fn"]))
        return {name: _with_errors(found, grid) for name, found in sites.items()}


def _shared(hand: ByHand, guide: Any) -> Any:
    kept = poutine.Trace()
    for name, node in guide.nodes.items():
        if node["type"] == "sample" and type(node["fn"]).__name__ != "_Subsample" and hand.axis(node) is None:
            kept.add_node(name, **node)
    return kept


def _statistics(fn: Any) -> tuple[Tensor, ...]:
    """Mean and variance; probabilities where a distribution has classes."""
    base = fn
    while hasattr(base, "base_dist"):
        base = base.base_dist
    if type(base).__name__ == "Bernoulli":
        return (torch.stack([base.probs, 1 - base.probs], -1).double(),)
    if type(base).__name__ in ("Categorical", "OneHotCategorical"):
        return (base.probs.double(),)
    return fn.mean.double().expand(fn.shape()), fn.variance.double().expand(fn.shape())


def _with_errors(found: list[tuple[Tensor, ...]], grid: tuple[int, int]) -> tuple[Split, Split]:
    read = [torch.stack(parts).unflatten(0, grid) for parts in zip(*found, strict=True)]
    axis = 0 if grid[0] > 1 else 1
    blocks = torch.arange(grid[axis]).tensor_split(min(grid[axis], BLOCKS) if axis else grid[0])
    without = [_split(*(part.index_select(axis, _others(grid[axis], block)) for part in read)) for block in blocks]
    several = [torch.stack(parts) for parts in zip(*without, strict=True)]
    errors = [((len(parts) - 1) * parts.var(correction=0)).sqrt() for parts in several]
    return _split(*read), Split(*errors)


def _others(count: int, block: Tensor) -> Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[block] = False
    return kept.nonzero().flatten()


def _split(mean: Tensor, variance: Tensor | None = None) -> Split:
    """Without what local draws alone put into the spread between the shared ones."""
    if variance is None:
        noise, given, whole = (_entropy(one) for one in (mean, mean.mean(1), mean.mean((0, 1))))
        noise, latent, epistemic = noise.mean((0, 1)), given.mean(0) - noise.mean((0, 1)), whole - given.mean(0)
    else:
        noise = variance.mean((0, 1))
        latent, epistemic = mean.var(1, correction=0).mean(0), mean.mean(1).var(0, correction=0)
    moved = latent / max(mean.shape[1] - 1, 1) * (mean.shape[0] - 1) / mean.shape[0]
    return Split(noise.sum(), (latent + moved).sum(), (epistemic - moved).sum())


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)
