"""Which sites of the guide look at what an observed site holds."""

from __future__ import annotations

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.sampling.observed_arguments import with_values
from pyrovae.sampling.runs import Run
from pyrovae.sampling.sampler import Sampler


def guide_reads(sampler: Sampler, batch: Batch, site: str) -> bool:
    """Whether draws of the guide would know the values of an observed site, so that they cannot predict them.

    Also where the model enumerates a site, since it is drawn from its posterior given all data; and where that cannot
    be found out.
    """
    if sampler.structure.named("enumerated"):
        return True
    one = sampler.single(batch)
    value, axis = one.node(site)["value"], sampler.layout.place(("model", site)).axis
    if axis is None:
        return True
    # Rows of one class, exchanged, are the same rows: so values from the model are tried, too.
    others = value.roll(1, dims=axis), sampler.single(batch, "prior").node(site)["value"]
    others = [other for other in others if other.shape == value.shape and not torch.equal(other, value)]
    try:
        runs = [sampler.single(with_values(sampler, batch, {site: other})) for other in others]
    except Exception:  # no argument to set; or other arguments go with this one, as a pair may say in its own way
        return True
    return not runs or any(changed_sites(one, run) for run in runs)


def changed_sites(one: Run, other: Run) -> list[str]:
    """The sites that the guide draws from another distribution in one run than in the other, from the same seed."""
    return [name for name in one.names("guide") if _differ(one, other, name)]


def _differ(one: Run, other: Run, name: str) -> bool:
    # The same random numbers give the same draws wherever the distribution is the same; the draws of a discrete site
    # may agree by chance, their probabilities do not.
    pairs = [(run.value(name, "guide"), run.log_prob(name, "guide")) for run in (one, other)]
    return not all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
