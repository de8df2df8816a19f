"""What the processes of a training must have in common, looked at before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data.distributed import DistributedSampler

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.errors import ArgumentError, argument
from pyrovae.objectives.free_bits import FreeBits
from pyrovae.objectives.penalised import Penalised
from pyrovae.pairs.pair import HasPair, Wrapped
from pyrovae.pairs.structure import Structure
from pyrovae.training.parallel.shares import Shares, share_of
from pyrovae.training.parallel.team import SingleProcess
from pyrovae.training.plan import Plan
from pyrovae.training.saved.description import describe_data
from pyrovae.training.saved.run_description import Description, difference


def shared(
    pair: HasPair,
    batches: Batches,
    first: Batch,
    structure: Structure,
    team: SingleProcess,
    place: Callable[[Batch], Batch],
) -> Shares:
    """How a batch is shared.

    Raises:
        ArgumentError: what cannot be shared.
    """
    _check_loader(getattr(batches.source, "loader", None))
    _check_pair(pair)
    _check_last_batch(batches, team)
    shares = Shares(pair, structure, team)
    shares.find(first, place(share_of(first, team)), place)
    return shares


def _check_loader(loader: DataLoader | None) -> None:
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        raise ArgumentError(
            "the DataLoader has a DistributedSampler; leave it out: every process reads the same batches, and takes "
            "its own rows of each."
        )
    if isinstance(sampler, RandomSampler) and sampler.generator is None:
        raise ArgumentError(
            "the DataLoader shuffles in an order of its own in each process; give it "
            "generator=torch.Generator().manual_seed(0)."
        )


def _check_pair(pair: Any) -> None:
    while isinstance(pair, Wrapped):
        if isinstance(pair, FreeBits):
            raise ArgumentError(
                "free_bits bounds the mean over a whole batch, of which each process sees a part; train in one process."
            )
        if isinstance(pair, Penalised):
            raise ArgumentError(
                f"{pair.name} compares all rows of a batch, of which each process sees a part; train in one process."
            )
        pair = pair.pair


def _check_last_batch(batches: Batches, team: SingleProcess) -> None:
    rows, size = batches.rows, batches.batch_size
    last = rows % size if rows and size and batches.random_access else 0
    if 0 < last < team.size or (size or team.size) < team.size:
        raise ArgumentError(
            f"{argument('batch_size', size)} leaves {last or size} rows for {team.size} processes to share; "
            "choose another one."
        )


def check_alike_everywhere(team: SingleProcess, plan: Plan, mine: dict[str, Any]) -> None:
    """Refuse other data and other pairs in other processes, which would make one mixed result of two trainings.

    Args:
        team: the processes.
        plan: this process's data and pair.
        mine: their description.

    Raises:
        ArgumentError: the pairs differ.
        DataError: the data differ.
    """
    mine = _as_far_as_all(team, plan, mine)
    everywhere = team.all_gather(mine)
    compared = _compared(everywhere)
    for rank, theirs in enumerate(compared):
        found = difference(plan, compared[0], theirs)  # each process says the same words of the same two
        if found is not None:
            raise found.error(
                f"{found.what} is {found.one} in process 0 and {found.other} in process {rank}; give all processes the "
                "same pair, data and seed."
            )


def _as_far_as_all(team: SingleProcess, plan: Plan, mine: dict[str, Any]) -> dict[str, Any]:
    """The description again, of the rows of a Dataset that every process had time to read."""
    for which, batches in (("data", plan.batches), ("validation", plan.validation)):
        own = mine[which] and mine[which]["values"][1]
        fewest = min(read or 0 for read in team.all_gather(own))
        if own and batches is not None and not batches.leaves() and own > fewest > 0:
            mine = {**mine, which: describe_data(batches, read=fewest)}
    return mine


def _compared(everywhere: list[Description]) -> list[dict[str, Any]]:
    """The descriptions without arguments, which were compared, and without buffers, which are copied to all processes.

    A number that is each process's own rank is left out: a pair may know in which one it is.
    """
    pairs = [described["pair"] for described in everywhere]
    ranks = {name for name in pairs[0] if all(pair.get(name) == f"{float(rank)}" for rank, pair in enumerate(pairs))}
    return [
        {**described, "pair": {name: text for name, text in pair.items() if name not in ranks},
         "arguments": {}, "buffers": {}}
        for described, pair in zip(everywhere, pairs, strict=True)
    ]  # fmt: skip
