"""Other values at observed sites, written into the arguments from which the pair takes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.sampling.sampler import Sampler


def with_values(sampler: Sampler, batch: Batch, values: Mapping[str, torch.Tensor]) -> Batch:
    """The batch with which the pair observes these values.

    Args:
        sampler: of the pair.
        batch: the batch, where the pair takes it.
        values: for some observed sites what they shall observe, in the shape of a single run.

    Raises:
        PairError: the pair computes what it observes from its arguments, so that no argument can be set.
    """
    written = Batch.of({name: leaf.clone() for name, leaf in batch.leaves.items()})._replace(positions=batch.positions)
    run = sampler.single(written)
    for site, value in values.items():
        _write(written, run.node(site)["value"], value)
    after = sampler.single(written)
    for site, value in values.items():
        held = after.node(site)["value"]
        if held.shape != value.shape or not torch.allclose(held.double(), value.double(), equal_nan=True):
            raise PairError(
                f"the pair computes what it observes at {site!r} from its arguments, so simulated values cannot be "
                "given to it. Compute that beforehand, and give the pair the result as an argument."
            )
    return written


def _write(batch: Batch, observed: torch.Tensor, value: torch.Tensor) -> None:
    """Write into the argument of which the observed value is a view, or else into the one that is equal to it."""
    for leaf in batch.leaves.values():
        if _shares(leaf, observed):
            observed.copy_(value.reshape(observed.shape))
            return
    for leaf in batch.leaves.values():
        if leaf.numel() == observed.numel() and bool((leaf.reshape(-1) == observed.reshape(-1)).all()):
            leaf.copy_(value.reshape(leaf.shape))
            return


def _shares(leaf: torch.Tensor, observed: torch.Tensor) -> bool:
    return leaf.untyped_storage().data_ptr() == observed.untyped_storage().data_ptr() and 0 not in observed.stride()
