"""What a trained pair says: encodings, reconstructions, generated data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from pyro import poutine
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


def encode(pair: HasPair, *data: Any, **named: Any) -> dict[str, Encoding]:
    """Posterior mean and scale of every local latent site.

    `mean = E_q[z_n | x_n]` and `scale = sd_q[z_n | x_n]`, read off the guide's distributions in eval mode.

    Args:
        pair: any pair.
        *data: the arguments of model and guide, N rows.
        **named: keyword arguments of model and guide.

    Returns:
        `{site: Encoding}` on the CPU; a site whose guide has no mean is left out.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Poisson(pv.MLP(2, [], 5)), pv.DiagNormal(pv.MLP(5, [], 4)))
        >>> pv.encode(vae, torch.ones(3, 5))["z"].mean.shape
        torch.Size([3, 2])
    """
    use = Use.of(pair, as_batches(named or data, batch_size=_TILE))
    means, scales = {}, {}
    with use.eval_mode():
        for traces in use.passes():
            for site in use.structure.named("latent", local=True):
                moments = _moments(traces.guide.nodes[site]["fn"])
                if moments is not None:
                    means.setdefault(site, []).append(moments.mean)
                    scales.setdefault(site, []).append(moments.scale)
    return {site: Encoding(torch.cat(means[site]).cpu(), torch.cat(scales[site]).cpu()) for site in means}


def _moments(fn: Any) -> Encoding | None:
    try:
        moments = Encoding(fn.mean, fn.variance.sqrt())
    except (NotImplementedError, AttributeError):
        return None
    # A categorical has no mean, and says so by NaN.
    return None if bool(moments.mean.isnan().any()) else moments


def reconstruct(
    pair: HasPair, *data: Any, seed: int | None = 0, mean: bool = True, **named: Any
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
    use = Use.of(pair, as_batches(named or data, batch_size=_TILE))
    found: dict[str, list[torch.Tensor]] = {}
    with use.eval_mode(seed):
        for traces in use.passes():
            for site in use.structure.named("observed"):
                found.setdefault(site, []).append(_value(traces.model.nodes[site], mean=mean, draw=True))
    return {site: torch.cat(values).detach().cpu() for site, values in found.items()}


def generate(
    pair: HasPair, count_or_data: Any, *more: Any, seed: int | None = None, mean: bool = False, **named: Any
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
        batches = as_batches(_blank(pair, count_or_data), batch_size=_TILE)
    else:
        batches = as_batches(named or (count_or_data, *more), batch_size=_TILE)
    use = Use.of(pair, batches)
    found: dict[str, list[torch.Tensor]] = {}
    with use.eval_mode(seed):
        shared: Trace | None = None
        for batch in use.batches.in_order():
            batch = use.placement.place(batch)
            shared = shared or _global_draws(use, batch)
            trace = poutine.trace(_Unobserve()(poutine.replay(use.fixed.model, trace=shared))).get_trace(
                *batch.args, **batch.kwargs
            )
            for name, node in samples(trace):
                if use.structure.sites[name].role != "factor":
                    observed = use.structure.sites[name].role == "observed"
                    found.setdefault(name, []).append(_value(node, mean=mean and observed, draw=False))
    local = {name for name, site in use.structure.sites.items() if site.local}
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

    def passes(self, batches: Iterable[Batch] | None = None) -> Iterator[Traces]:
        """The guide, and the model replayed against it, on every batch."""
        for batch in batches if batches is not None else self.batches.in_order():
            yield self.traced(self.placement.place(batch))

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


def _depth(traces: Traces) -> int:
    frames = [f.dim for trace in traces for _, node in samples(trace) for f in node["cond_indep_stack"]]
    return -min((dim for dim in frames if dim is not None), default=0)
