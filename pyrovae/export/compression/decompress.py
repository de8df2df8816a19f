"""A file of `compress` back into data."""

from __future__ import annotations

import math
import os
import zlib
from typing import Any

import torch

from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import as_batches
from pyrovae.data.check_memory import check_memory
from pyrovae.errors import FileError, PairError, argument
from pyrovae.export.compression.bit_stack import constriction
from pyrovae.export.compression.block_coder import BlockCoder
from pyrovae.export.compression.chunk_coder import ChunkCoder
from pyrovae.export.compression.compress import given_form, made_on
from pyrovae.export.compression.compressed_file import FileReader
from pyrovae.export.compression.model_digest import model_digest, pair_words
from pyrovae.export.compression.plan_header import Header
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.programs import WholePlate
from pyrovae.sampling.use import Use


@in_turn
def decompress(pair: HasPair, /, file: str | os.PathLike[str]) -> Any:
    """Read what `compress` wrote, with the same pair.

    The data come back to the last bit, or not at all: each part of the file has a checksum, and so have the decoded
    rows. Nothing in the file is run.

    Args:
        pair: with the weights that it had when the file was written.
        file: of `compress`.

    Returns:
        The data as they were given: a tensor, a tuple of them, or a dict.

    Raises:
        FileError: it is no such file, damaged, cut off, made with another pair (which it names), or not portable and
            made where torch computes otherwise.
        ArgumentError: constriction is not installed.

    Examples:
        See `compress`.
    """
    constriction()
    with FileReader(file) as reader:
        try:
            header = Header.of_plain(reader.header)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise FileError(f"{file} has a header that cannot be: it was not written by pyrovae.compress.") from error
        row = sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in header.leaves)
        check_memory(2 * row * reader.rows, str(file), "Write smaller files.")
        use = _use_of(pair, header, file)
        coder = ChunkCoder(
            BlockCoder(
                WholePlate(pair, header.plate or None, follows=header.follows),
                header.plan,
                use.placement.place,
                exact=header.exact,
            )
        )
        with use.quietly(0):
            parts = [_decoded(coder, header, chunk, file) for chunk in reader.chunks()]
    return given_form({key: torch.cat([part[key] for part in parts]) for key in parts[0]} if parts else header.zeros(0))


def _use_of(pair: HasPair, header: Header, file: Any) -> Use:
    """The pair, known to be the one that the file was made with."""
    stand_ins = Batch.of(header.zeros(2))
    data: Any = stand_ins.kwargs or stand_ins.args
    try:
        use = Use.of(pair, as_batches(data, batch_size=2), data_plate=header.plate or None)
    except PairError as error:
        raise FileError(
            f"{file} was made with {header.words}, and this pair does not run on its data: {error}"
        ) from error
    found = model_digest(use.structure)
    if found != header.digest:
        raise FileError(
            f"{file} was made with another pair: {header.words}, digest {header.digest[:12]}. This one is "
            f"{pair_words(pair, use.structure)}, digest {found[:12]}. Load the weights that it was made with (pv.load)."
        )
    if use.placement.device.type != "cpu":
        raise PairError(
            f"decompress works on the processor, and the pair stands on {use.placement.device}; move it to 'cpu' first."
        )
    return use


def _decoded(coder: ChunkCoder, header: Header, chunk: Any, file: Any) -> dict[int | str, torch.Tensor]:
    try:
        found = coder.decode(chunk, header.zeros(chunk.rows))
    except (ValueError, IndexError, KeyError, RuntimeError, zlib.error) as error:
        raise FileError(f"{file} holds a chunk that cannot be decoded: {error}") from error
    if found is not None:
        return found
    if header.exact:
        raise FileError(
            f"{file} decodes to other rows than were coded. It is whole, and the weights are the same: the code of "
            f"model or guide has changed since, or torch's (made by {header.made_on}; this is {made_on()}). Use the "
            "code that it was made with."
        )
    raise FileError(
        f"{file} decodes to other rows than were coded. It was made with {argument('portable', False)} on "
        f"{header.made_on}, and this is {made_on()}, where sums are rounded otherwise. Decode it there, and write it "
        f"again with {argument('portable', True)}."
    )
