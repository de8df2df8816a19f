"""Rate, distortion and ELBO of runs that a loss has already made, without temper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.traceenum_elbo import _compute_dice_elbo, _compute_model_factors
from pyro.ops.provenance import detach_provenance
from pyro.poutine.trace_struct import Trace

from pyrovae.errors import PairError
from pyrovae.objectives.summed_elbo import to_one_precision
from pyrovae.pairs.points import is_deterministic
from pyrovae.pairs.subsample_scale import subsample_scale
from pyrovae.pairs.trace import Traces, samples

TEMPERING = "_pyrovae_tempering"  # where a message says what temper did to it

SHARE = "_pyrovae_share"  # where a message says what its process's part of a batch counts

PARTICLES = "num_particles_vectorized"  # the name of Pyro's own plate over particles


class Figures(NamedTuple):
    """`elbo = -(rate + distortion)` exactly, in nats per datum, without temper, scales of the author, factors of q."""

    elbo: torch.Tensor
    rate: torch.Tensor
    distortion: torch.Tensor


class Tempering(NamedTuple):
    """What temper did to a site: multiplied its scale by `factor`, or dropped it, whose mask was `mask`.

    It stands in the message itself. Not in `infer`: a replayed site takes over the guide's.
    """

    factor: float = 1.0
    dropped: bool = False
    mask: Any = None

    @property
    def weight(self) -> float:
        """The weight of the site."""
        return 0.0 if self.dropped else self.factor


def untempered(node: Mapping[str, Any]) -> tuple[Any, Any]:
    """A site's scale and mask as they would be without temper."""
    tempering = node.get(TEMPERING, Tempering())
    return node["scale"] / tempering.factor, tempering.mask if tempering.dropped else node["mask"]


def author_scale(node: Mapping[str, Any]) -> Any:
    """What the author scales a site by, beyond what a subsample does: a number or a tensor."""
    return untempered(node)[0] / subsample_scale(node)


def unweighted(node: Mapping[str, Any]) -> tuple[Any, Any]:
    """A site's scale and mask as they would be without temper and without what its author scales it by."""
    return subsample_scale(node) * node.get(SHARE, 1.0), untempered(node)[1]


def is_factor(node: Mapping[str, Any]) -> bool:
    """Whether a site is a `pyro.factor`."""
    return type(node["fn"]).__name__ == "Unit"


def is_part_of_q(node: Mapping[str, Any]) -> bool:
    """Whether a guide's site is drawn: factors, and what the guide observes, weight the loss alone."""
    return not is_factor(node) and (not node["is_observed"] or is_deterministic(node))


class Tally:
    """What a recorder keeps of runs: sums without gradients, never the runs themselves."""

    def __init__(self):
        self.particles = 0.0
        self.rate: torch.Tensor | float = 0.0
        self.distortion: torch.Tensor | float = 0.0
        self.parameters: set[str] = set()  # names of param sites, as in Pyro's store
        self._sites: dict[tuple[str, str], torch.Tensor] = {}  # (side, site) -> its log-probability

    @torch.no_grad()
    def add(self, run: Traces) -> None:
        """Take in one run of guide and model; log-probabilities that a loss computed are reused."""
        totals = {
            (side, name): _total(node)
            for side, trace in (("guide", run.guide), ("model", run.model))
            for name, node in samples(trace)
        }
        rate, distortion = _enumerated(run) if _enumerates(run) else _plain(run, totals)
        self.rate, self.distortion = self.rate + rate, self.distortion + distortion
        # Where the guide enumerates one value a run, several runs make up one particle.
        self.particles += 1 / math.prod(node["infer"].get("_enum_total", 1) for _, node in samples(run.guide))
        self.parameters.update(name for trace in run for name in trace.param_nodes)
        for key, total in totals.items():
            self._sites[key] = self._sites[key] + total if key in self._sites else total

    def figures(self, size: float) -> Figures:
        """The average over particles, per datum of a data plate of that size."""
        scale = 1 / (self.particles * size)
        rate, distortion = torch.as_tensor(self.rate) * scale, torch.as_tensor(self.distortion) * scale
        return Figures(-(rate + distortion), rate, distortion)

    def worst_site(self) -> str | None:
        """The first site whose log-probability went bad: NaN, or else infinite."""
        for bad in (torch.isnan, torch.isinf):
            for (_, name), total in self._sites.items():
                if bool(bad(total)):
                    return name
        return None


# --- the number of data -----------------------------------------------------------------------------
def is_data(node: Mapping[str, Any]) -> bool:
    """Whether a site of the model is observed and neither a factor nor deterministic."""
    return bool(node["is_observed"] and not is_deterministic(node) and not is_factor(node))


def data_size(stacks: Sequence[Iterable[Any]], rows: int | None, data_plate: str | None = None) -> int:
    """The size of the data plate, by which totals are divided; the number of rows where it has none.

    Args:
        stacks: the plates around each observed site.
        rows: the number of rows of the batch.
        data_plate: its name; left out, it is the one plate that holds every observed site.
    """
    stacks = [[f for f in stack if f.size > 0] for stack in stacks]
    name = holding_plate(stacks, rows, data_plate)
    sizes = {f.name: int(f.full_size or f.size) for stack in stacks for f in stack}
    return sizes.get(name, rows or 1) if name else rows or 1


def holding_plate(stacks: Sequence[Iterable[Any]], rows: int | None, data_plate: str | None = None) -> str | None:
    """The name of the data plate, read off one run: the one that holds all observed sites.

    Args:
        stacks: the plates around each observed site.
        rows: the number of rows of the batch, by which one of several is chosen.
        data_plate: its name, if known.

    Raises:
        PairError: several hold all observed sites and have the batch's length.
    """
    stacks = [[f for f in stack if f.name != PARTICLES] for stack in stacks]
    sizes = {f.name: (int(f.size), int(f.full_size or f.size)) for stack in stacks for f in stack}
    names = [name for name in sizes if all(name in {f.name for f in stack} for stack in stacks)]
    if data_plate is not None:
        names = [name for name in sizes if name == data_plate]
    if len(names) > 1:
        # `pyro.plate("data")` says no size.
        names = [name for name in names if rows in sizes[name]] or [name for name in names if sizes[name][0] < 0]
    if len(names) > 1:
        raise PairError(
            f"the plates {', '.join(map(repr, names))} hold all observed sites, and each has the length of the batch. "
            f"Say which one holds the data: data_plate={names[0]!r}."
        )
    return names[0] if names else None


# --- without enumeration ----------------------------------------------------------------------------
def _plain(run: Traces, totals: Mapping[tuple[str, str], torch.Tensor]) -> tuple[Any, Any]:
    rate: torch.Tensor | float = sum(totals["guide", name] for name, _ in _densities_of_guide(run.guide))
    distortion: torch.Tensor | float = 0.0
    for name, node in samples(run.model):
        if node["is_observed"]:
            distortion = distortion - totals["model", name]
        else:
            rate = rate - totals["model", name]
    particles = _vectorised(run)
    return rate / particles, distortion / particles


def _densities_of_guide(guide: Trace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sites that make up q."""
    return ((name, node) for name, node in samples(guide) if is_part_of_q(node))


def _total(node: dict) -> torch.Tensor:
    """A site's log-probability, scaled by plates, masked, not weighted."""
    scale, mask = unweighted(node)
    plain = TEMPERING not in node and isinstance(node["scale"], int | float) and node["scale"] == scale
    total = node.get("log_prob_sum") if plain else None
    if total is None:
        total = torch.as_tensor(scale_and_mask(_log_prob(node), scale, mask)).sum()
    return _exact(total)


def _exact(value: Any) -> torch.Tensor:
    """In double precision (which Apple's devices lack), so that Python's floats add up exactly, too."""
    value = torch.as_tensor(detach_provenance(value)).detach()
    return value if value.device.type == "mps" else value.double()


def _log_prob(node: dict) -> torch.Tensor:
    known = node.get("unscaled_log_prob")
    if known is None:
        return node["fn"].log_prob(node["value"])
    return known if torch.is_grad_enabled() else known.detach()


def _vectorised(run: Traces) -> int:
    frames = (f for trace in run for _, node in samples(trace) for f in node["cond_indep_stack"])
    return next((int(frame.size) for frame in frames if frame.name == PARTICLES), 1)


# --- with enumeration -------------------------------------------------------------------------------
def _enumerates(run: Traces) -> bool:
    return any("_enumerate_dim" in n["infer"] or "_enum_total" in n["infer"] for t in run for _, n in samples(t))


def _enumerated(run: Traces) -> tuple[torch.Tensor, torch.Tensor]:
    """Rate and distortion with enumerated sites summed out, by Pyro's own contraction.

    Sites that the model sums out together are one term: it belongs to the rate where all of them are
    latent, and to the distortion where one of them is observed.
    """
    terms = _contractions(run)
    data = set(run.model.observation_nodes)
    observed = {name for term in terms if term & data for name in term}
    total = _dice(run, lambda name, node: True)
    rate = -_dice(run, lambda name, node: not node["is_observed"] and name not in observed)
    return rate, -total - rate


def _dice(run: Traces, keep: Callable[[str, dict], bool]) -> torch.Tensor:
    guide, model = _packed(run, keep)
    return _exact(_compute_dice_elbo(model, guide)) / _vectorised(run)


def _packed(run: Traces, keep: Callable[[str, dict], bool] = lambda name, node: True) -> tuple[Trace, Trace]:
    """Guide and the kept sites of the model as they would be without weights, ready for a contraction."""
    guide, model = copied(run.guide, lambda name, node: is_part_of_q(node)), copied(run.model, keep)
    guide.pack_tensors()
    model.pack_tensors(guide.plate_to_symbol)
    to_one_precision((guide, model))
    return guide, model


def copied(trace: Trace, keep: Callable[[str, dict], bool] = lambda name, node: True) -> Trace:
    """The kept sample sites of a trace as they would be without weights, their log-probabilities computed."""
    copy = Trace()
    for name, node in samples(trace):
        if keep(name, node):
            fields = {k: v for k, v in node.items() if k not in ("packed", "log_prob", "log_prob_sum")}
            scale, mask = unweighted(node)
            log_prob = scale_and_mask(_log_prob(node), scale, mask)
            fields.update(scale=scale, mask=mask, log_prob=log_prob)
            if "score_parts" in fields:
                fields["score_parts"] = fields["score_parts"]._replace(log_prob=log_prob)
            copy.add_node(name, **fields)
    return copy


def _contractions(run: Traces) -> list[set[str]]:
    """The model's sites that are summed out together, since they share a dim that the model enumerates."""
    if not any(name not in run.guide and "_enumerate_dim" in node["infer"] for name, node in samples(run.model)):
        return []
    guide, model = _packed(run)
    summed = _compute_model_factors(model, guide)[3]
    terms: list[tuple[set[str], set[str]]] = []  # dims, sites
    for name, node in samples(model):
        dims, names = summed & set(node["packed"]["unscaled_log_prob"]._pyro_dims), {name}
        if dims:
            joined = [term for term in terms if term[0] & dims]
            terms = [term for term in terms if not term[0] & dims]
            terms.append((dims.union(*(t[0] for t in joined)), names.union(*(t[1] for t in joined))))
    return [names for _, names in terms]
