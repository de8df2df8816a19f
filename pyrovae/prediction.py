"""What a trained pair says: encodings, reconstructions, generated data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.infer import infer_discrete
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample

from pyrovae.batches import Batch, Batches, as_batches
from pyrovae.errors import ArgumentError, PairError
from pyrovae.handlers import FixedPlate
from pyrovae.isolation import isolated
from pyrovae.pairs import HasPair, Structure, Traces, inspect, run, samples, unwrapped
from pyrovae.placement import Placement, placed

_TILE = 256  # rows worked on together
_DRAWS = 100  # a tenth of a standard deviation is near enough for a mean that is only drawn


class Encoding(NamedTuple):
    """Mean and scale (standard deviation) of a latent site's posterior, each of shape (rows, *event).

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.encode(vae, torch.ones(3, 5))["z"].scale.shape
        torch.Size([3, 2])
    """

    mean: torch.Tensor
    scale: torch.Tensor


def encode(pair: HasPair, /, *data: Any, **named: Any) -> dict[str, Encoding]:
    """Posterior mean and scale of every local latent site.

    `mean = E_q[z_n | x_n]` and `scale = sd_q[z_n | x_n]`, read off the guide's distributions in eval mode.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        **named: keyword arguments of model and guide.

    Returns:
        `{site: Encoding}` on the CPU; a site whose guide has no mean is left out. Where the guide draws a site
        through an auxiliary one (autoguides do), mean and scale are those of 100 draws.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.encode(vae, torch.ones(3, 5))["z"].mean.shape
        torch.Size([3, 2])
    """
    return Use.of(pair, as_batches(arguments(data, named), batch_size=_TILE)).encodings()


def _moments(fn: Any) -> Encoding | None:
    try:
        moments = Encoding(fn.mean, fn.variance.sqrt())
    except (NotImplementedError, AttributeError):
        return None
    # A categorical has no mean, and says so by NaN.
    return None if bool(moments.mean.isnan().any()) else moments


def reconstruct(
    pair: HasPair, /, *data: Any, seed: int | None = 0, mean: bool = True, **named: Any
) -> dict[str, torch.Tensor]:
    """Pass data through guide and model once.

    `z ~ q(z | x)`, then `E[x | z]` (or with `mean=False` a draw `x ~ p(x | z)`) at every observed site.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        mean: the mean of the likelihood (of a categorical, the most probable class) in place of a draw from it.
        **named: keyword arguments of model and guide.

    Returns:
        `{observed site: (rows, *event)}` on the CPU.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.reconstruct(vae, torch.ones(3, 5))["x"].shape
        torch.Size([3, 5])
    """
    use = Use.of(pair, as_batches(arguments(data, named), batch_size=_TILE))
    found: dict[str, list[torch.Tensor]] = {}
    with use.eval_mode(seed):
        for traces in use.passes():
            nodes = dict(samples(traces.model))
            for site in use.structure.named("observed"):
                if site in nodes:
                    value = _value(nodes[site], mean=mean, draw=True)
                    found.setdefault(site, []).append(use.rows_first(value, nodes[site]))
    return {site: torch.cat(values).detach().cpu() for site, values in found.items()}


def generate(
    pair: HasPair, count_or_data: Any = None, /, *more: Any, seed: int | None = None, mean: bool = False, **named: Any
) -> dict[str, torch.Tensor]:
    """Draw new data from the model, global sites from the guide.

    `w ~ q(w)`, `z_n ~ p(z_n | w)`, `x_n ~ p(x_n | z_n, w)`; with `mean=True` `E[x_n | z_n, w]` at observed sites.

    Args:
        pair: any pair.
        count_or_data: how many data, for pairs that know their own shapes (`VAE`, recipes); for any other
            pair data of the shape wanted, whose covariates are used and whose observed values are not.
        *more: further arguments of the model.
        seed: of the draws; None goes on from the caller's random state (and leaves it as it was).
        mean: the mean of the likelihood in place of a draw from it.
        **named: keyword arguments of the model.

    Returns:
        `{site: (rows, *event)}` on the CPU for latent, observed and deterministic sites.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> {site: tuple(value.shape) for site, value in pv.generate(vae, 10, seed=0).items()}
        {'z': (10, 2), 'x': (10, 5)}
    """
    if isinstance(count_or_data, int):
        data = _blank(pair, count_or_data)
    else:
        data = arguments(() if count_or_data is None else (count_or_data, *more), named)
    use = Use.of(pair, as_batches(data, batch_size=_TILE))
    roles = {name: site.role for name, site in use.structure.sites.items()}
    local = {name for name, site in use.structure.sites.items() if site.local}
    found: dict[str, list[torch.Tensor]] = {}
    with use.eval_mode(seed):
        shared: Trace | None = None
        for batch in use.placed_batches():
            shared = shared or _global_draws(use, batch)
            for name, node in samples(_prior_run(use, batch, shared)):
                if roles.get(name, "factor") != "factor":
                    value = _value(node, mean=mean and roles[name] == "observed", draw=False)
                    found.setdefault(name, []).append(use.rows_first(value, node) if name in local else value)
    joined = {site: torch.cat(values) if site in local else values[0] for site, values in found.items()}
    return {site: value.detach().cpu() for site, value in joined.items()}


def _blank(pair: HasPair, count: int) -> tuple:
    if count < 1:
        raise ArgumentError(f"{count} data cannot be generated; give 1 at least.")
    blank = getattr(unwrapped(pair), "blank", None)
    if blank is None:
        raise PairError(
            "this pair does not say what its data look like. Give data of the shape wanted in place of the count, "
            "generate(pair, x[:100]): covariates are used, observed values are not."
        )
    return tuple(blank(count))


def _prior_run(use: Use, batch: Batch, shared: Trace) -> Trace:
    """One run of the model with nothing observed, and global sites as given."""
    model = _Unobserve()(poutine.replay(use.fixed.model, trace=shared))
    return poutine.trace(model).get_trace(*batch.args, **batch.kwargs)


def _global_draws(use: Use, batch: Batch) -> Trace:
    """The guide's draws outside the data plate."""
    guide = poutine.trace(use.fixed.guide).get_trace(*batch.args, **batch.kwargs)
    kept = Trace()
    for name, node in samples(guide):
        if not use.structure.sites[name].local:
            kept.add_node(name, **node)
    return kept


def _value(node: Mapping[str, Any], *, mean: bool, draw: bool) -> torch.Tensor:
    centre = _centre(node["fn"]) if mean else None
    if centre is not None:
        return centre
    return node["fn"].sample() if draw else node["value"]


def _centre(fn: Any) -> torch.Tensor | None:
    """The mean; the mode where there is none, as for a categorical."""
    for name in ("mean", "mode"):
        try:
            value = getattr(fn, name)
        except (NotImplementedError, AttributeError):
            continue
        if not bool(value.isnan().any()):
            return value
    return None


class _Unobserve(Messenger):
    """Draw observed sites; Pyro's `uncondition` would also draw factors and deterministic sites."""

    def _pyro_sample(self, msg) -> None:
        kept = msg["infer"].get("_deterministic") or type(msg["fn"]).__name__ == "Unit" or site_is_subsample(msg)
        if msg["is_observed"] and not kept:
            msg["is_observed"] = False
            msg["value"] = None
            msg["done"] = False


class Use(NamedTuple):
    """A pair as it stands, and data to run it on."""

    pair: HasPair
    batches: Batches
    placement: Placement
    structure: Structure
    fixed: FixedPlate

    @classmethod
    def of(cls, pair: HasPair, batches: Batches) -> Use:
        """Look at the pair on the first rows."""
        first = batches.first()
        placement = placed(pair, first)
        batch = placement.place(first)
        try:
            structure = inspect(pair, batch.args, batch.kwargs)
        except ArgumentError:
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in first.leaves.values())
            raise PairError(
                f"the pair does not run on these data (its first rows have shapes {shapes}): "
                f"{type(error).__name__}: {error}"
            ) from error
        return cls(pair, batches, placement, structure, FixedPlate(pair, structure.data_plate))

    @contextmanager
    def eval_mode(self, seed: int | None = 0) -> Iterator[None]:
        """Eval mode, no gradients, isolated random numbers and store."""
        with isolated(seed), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    def placed_batches(self, batches: Iterable[Batch] | None = None) -> Iterator[Batch]:
        """The batches where the pair takes them; the data plate is given the rows that they are."""
        for batch in batches if batches is not None else self.batches.in_order():
            placed_batch = self.placement.place(batch)
            self.fixed.index = placed_batch.positions
            yield placed_batch

    def passes(self, batches: Iterable[Batch] | None = None) -> Iterator[Traces]:
        """The guide, and the model replayed against it, on every batch."""
        for batch in self.placed_batches(batches):
            yield self.traced(batch)

    def traced(self, batch: Batch) -> Traces:
        """One run; sites that the model enumerates are drawn from their posterior, not from the prior."""
        traces = run(self.fixed, batch.args, batch.kwargs)
        if not self.structure.named("enumerated"):
            return traces
        # Conditioned, not replayed: a replayed site is done before enumeration can note what it depends on.
        drawn: Any = {site: traces.guide.nodes[site]["value"] for site in self.structure.named("latent")}
        model: Callable[..., Any] = poutine.condition(self.fixed.model, data=drawn)
        sampled = infer_discrete(model, first_available_dim=-1 - _depth(traces), temperature=1)
        return Traces(poutine.trace(sampled).get_trace(*batch.args, **batch.kwargs), traces.guide)

    def rows_first(self, value: torch.Tensor, node: Mapping[str, Any]) -> torch.Tensor:
        """A value of a site with the data plate's dim in front."""
        for frame in node["cond_indep_stack"]:
            axis = value.ndim - len(node["fn"].event_shape) + (frame.dim or 0)
            if frame.name == self.structure.data_plate and frame.dim is not None and axis >= 0:
                return value.movedim(axis, 0)
        return value

    def encodings(self, rows: int | None = None) -> dict[str, Encoding]:
        """Mean and scale of the local latent sites, for the first rows that are at hand."""
        found: dict[str, list[Encoding]] = {}
        seen = 0
        with self.eval_mode():
            for batch in self.placed_batches():
                for site, encoding in self._encoded(batch).items():
                    found.setdefault(site, []).append(encoding)
                seen += batch.rows
                if rows is not None and seen >= rows:
                    break
        joined = {site: zip(*parts, strict=True) for site, parts in found.items()}
        return {site: Encoding(*(torch.cat(part).detach().cpu() for part in parts)) for site, parts in joined.items()}

    def _encoded(self, batch: Batch) -> dict[str, Encoding]:
        guide = poutine.trace(self.fixed.guide).get_trace(*batch.args, **batch.kwargs)
        nodes = {name: node for name, node in samples(guide) if name in self.structure.named("latent", local=True)}
        behind = {site for served in self.structure.auxiliaries.values() for site in served}
        drawn = {name for name, node in nodes.items() if name in behind and isinstance(node["fn"], Delta)}
        known = {name: _moments(node["fn"]) for name, node in nodes.items() if name not in drawn}
        known |= self._moments_of_draws(batch, drawn) if drawn else {}
        return {
            name: Encoding(*(self.rows_first(part, nodes[name]) for part in moments))
            for name, moments in known.items()
            if moments is not None
        }

    def _moments_of_draws(self, batch: Batch, names: set[str]) -> dict[str, Encoding | None]:
        """Moments of sites that are functions of auxiliary ones, and so have none of their own in the trace."""
        values: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for _ in range(_DRAWS):
            guide = poutine.trace(self.fixed.guide).get_trace(*batch.args, **batch.kwargs)
            for name in names:
                values[name].append(cast(torch.Tensor, guide.nodes[name]["value"]))
        stacked = {name: torch.stack(parts) for name, parts in values.items()}
        return {name: Encoding(part.mean(0), part.std(0)) for name, part in stacked.items()}


def _depth(traces: Traces) -> int:
    frames = [f.dim for trace in traces for _, node in samples(trace) for f in node["cond_indep_stack"]]
    return -min((dim for dim in frames if dim is not None), default=0)


def arguments(data: tuple, named: Mapping[str, Any]) -> Any:
    """What was given as `*data` and `**named`, as `fit` takes it; one dict stands for named arguments."""
    if named and data:
        raise ArgumentError(
            f"data were given by position and by name ({', '.join(named)}); give all of them in one of the two ways."
        )
    if named:
        return dict(named)
    return data[0] if len(data) == 1 and isinstance(data[0], dict) else data
