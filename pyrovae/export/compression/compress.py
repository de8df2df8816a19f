"""Data as a file whose length is the pair's bound."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.check_plain import check_plain
from pyrovae.data.whole_file import whole_file
from pyrovae.errors import ArgumentError, DataError, PairError, argument
from pyrovae.export.compression.bit_stack import constriction
from pyrovae.export.compression.block_coder import BlockCoder
from pyrovae.export.compression.chunk_coder import Arguments, ChunkCoder
from pyrovae.export.compression.coding_plan import coding_plan
from pyrovae.export.compression.compressed_file import Chunk, FileWriter
from pyrovae.export.compression.model_digest import model_digest, pair_words
from pyrovae.export.compression.plan_header import Header, leaves_of
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.programs import WholePlate, cut
from pyrovae.sampling.sampler import Sampler


class Compressed(NamedTuple):
    """What a file came to.

    Attributes:
        rows: how many are in it.
        size: its bytes, all counted: header, checksums, first bits, what no site observes.
        raw_size: the bytes of the rows as they were given.
        bits: of the file, for each row.
        first_bits: random bits, of all chunks, that had to be there before the first rows gave some back.
    """

    rows: int
    size: int
    raw_size: int
    bits: float
    first_bits: int


@in_turn
def compress(
    pair: HasPair,
    /,
    *data: Any,
    file: str | os.PathLike[str],
    portable: bool = True,
    verify: bool = True,
    chunk: int = 8192,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Compressed:
    r"""Write data to a file by bits-back coding: a row costs its negative ELBO, in bits.

    \[ \text{bits}(x) = \underbrace{\log_2 q(z \mid x)}_{\text{taken out for } z} - \log_2 p(x \mid z) - \log_2 p(z),
    \qquad \operatorname E_q[\text{bits}(x)] = -\frac{\text{elbo}(x)}{\log 2} \]

    Continuous latents are cut into bins of equal mass of the prior. Of a hierarchy each site is coded as soon as
    nothing that is left depends on it (Bit-Swap). Chunks stand for themselves, so that a stream of any length is coded
    in the memory of one of them.

    Args:
        pair: any pair whose data are discrete and whose sites have independent elements.
        *data: the arguments of model and guide, N rows. What no site observes (covariates) is stored beside, deflated.
        file: where to; it appears when it is whole.
        portable: True: products and sums are of whole numbers, exp and log of tables, so that every machine, library
            and number of threads decodes the same bits. False: the pair runs as it is, which is faster; such a file is
            read again with the same torch, machine and number of threads, and refused where any of them computes
            otherwise.
        verify: decode each chunk at once, and compare; half the time.
        chunk: how many rows stand together. Each chunk has first bits of its own.
        seed: of the first bits.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        What the file came to.

    Raises:
        PairError: the pair has a site that cannot be coded, or draws random numbers outside of its sites.
        DataError: what a site observes is continuous, or no value of its distribution.
        ArgumentError: constriction is not installed.

    References:
        Townsend, Bird and Barber, "Practical lossless compression with latent variables using bits back coding" (2019);
        Kingma, Abbeel and Ho, "Bit-Swap" (2019); Bamler, "Understanding entropy coding with asymmetric numeral systems"
        (2022).

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 8)), pv.DiagNormal(pv.MLP(8, [], 4)))
        >>> x = (torch.arange(80).reshape(10, 8) % 3 == 0).float()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = pv.compress(vae, x, file=f"{folder}/x.pv")
        ...     torch.equal(pv.decompress(vae, f"{folder}/x.pv"), x), done.rows
        (True, 10)
    """
    chunk = check_count("chunk", chunk)
    for name, value in {"portable": portable, "verify": verify}.items():
        if not isinstance(value, bool):
            raise ArgumentError(f"{argument(name, value)}; give True or False.")
    constriction()
    check_plain(Path(file), links=False)
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    writing = _Writing(sampler, exact=portable, verify=verify)
    with whole_file(file) as stream, sampler.use.quietly(seed_for(sampler.seed, "compress")):
        return writing.written(stream, chunk)


class _Writing:
    def __init__(self, sampler: Sampler, *, exact: bool, verify: bool):
        self.sampler, self.exact, self.verify = sampler, exact, verify
        if sampler.device.type != "cpu":
            raise PairError(
                f"compress works on the processor, and the pair stands on {sampler.device}; move it to 'cpu' first."
            )

    def written(self, stream: Any, chunk: int) -> Compressed:
        batches = self.batches(chunk)
        first = next(batches)
        header, coder = self.looked_at(first)
        writer = FileWriter(stream, header.to_plain())
        rows = raw_size = first_bits = 0
        for number, batch in enumerate(_after(first, batches)):
            _check_same(header, batch)
            done = coder.encode(batch, seed_for(self.sampler.seed, "first bits", number))
            self.check(coder, done, header.zeros(batch.rows))
            writer.add(done)
            rows, first_bits = rows + batch.rows, first_bits + 32 * done.first
            raw_size += sum(leaf.nbytes for leaf in batch.leaves.values())
        writer.close()
        size = stream.tell()
        return Compressed(rows, size, raw_size, 8 * size / rows, first_bits)

    def batches(self, chunk: int) -> Iterator[Batch]:
        batches = self.sampler.use.batches
        found = batches.in_order(chunk if batches.random_access else None)
        return (Batch.of({key: torch.as_tensor(leaf) for key, leaf in one.leaves.items()}) for one in found)

    def looked_at(self, first: Batch) -> tuple[Header, ChunkCoder]:
        sampler, structure = self.sampler, self.sampler.structure
        looked_at = cut(first, min(first.rows, 256))
        plan = coding_plan(sampler, looked_at, exact=self.exact, seed=seed_for(sampler.seed, "look"))
        pair = WholePlate(sampler.use.pair, structure.data_plate, follows=sampler.layout.follows)
        header = Header(
            model_digest(structure),
            pair_words(sampler.use.pair, structure),
            structure.data_plate or "",
            sampler.layout.follows,
            self.exact,
            made_on(),
            leaves_of(first),
            plan,
        )
        coder = ChunkCoder(BlockCoder(pair, plan, sampler.use.placement.place, exact=self.exact))
        coder.look(cut(first, min(first.rows, 8)))
        return header, coder

    def check(self, coder: ChunkCoder, chunk: Chunk, zeros: Arguments) -> None:
        if self.verify and coder.decode(chunk, zeros) is None:
            raise PairError(
                "compress: the rows do not come back from what was coded. The pair computes another thing each time "
                "(random numbers outside of its sites, a state that changes), or uses what it observes for more than "
                "obs=."
            )


def made_on() -> str:
    """What the bits of ordinary arithmetic depend on, for people."""
    return f"torch {torch.__version__} on {platform.machine()} with {torch.get_num_threads()} threads"


def _after(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _check_same(header: Header, batch: Batch) -> None:
    if leaves_of(batch) != header.leaves:
        raise DataError("the data change their type or the shape of a row on the way: a file holds rows of one kind.")


def given_form(leaves: Mapping[int | str, torch.Tensor]) -> Any:
    """Arguments as they were given: one tensor, a tuple, or by name."""
    if any(isinstance(key, str) for key in leaves):
        return dict(leaves)
    return next(iter(leaves.values())) if len(leaves) == 1 else tuple(leaves.values())
