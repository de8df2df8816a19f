"""Chunks of rows: each a stack of its own, with what no site observes beside it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import FileError
from pyrovae.export.compression.bit_stack import BitStack
from pyrovae.export.compression.block_coder import BlockCoder
from pyrovae.export.compression.compressed_file import Chunk, digest

Arguments = dict[int | str, Tensor]


class ChunkCoder:
    """Codes chunks.

    Args:
        blocks: codes their blocks.
    """

    def __init__(self, blocks: BlockCoder):
        self.blocks = blocks
        self._left: dict[int | str, Tensor] = {}

    def encode(self, batch: Batch, seed: int) -> Chunk:
        """The rows of a batch, as the user has them.

        Args:
            batch: the rows.
            seed: of the first bits.
        """
        leaves = {key: leaf.detach().contiguous() for key, leaf in batch.leaves.items()}
        stack = BitStack(np.zeros(0, np.uint32), np.random.default_rng(seed))
        for rows in self.blocks.plan.blocks(batch.rows):
            self.blocks.encode(Batch.of({key: leaf[rows.start : rows.stop] for key, leaf in leaves.items()}), stack)
        first = stack.first_words
        beside = self._packed(leaves)
        return Chunk(batch.rows, beside, stack.words(), len(first), digest(first.tobytes())[:8], rows_digest(leaves))

    def decode(self, chunk: Chunk, zeros: Arguments) -> Arguments | None:
        """The rows of a chunk; None where they are not those that were coded.

        Args:
            chunk: from a file.
            zeros: arguments of its rows, to be filled.
        """
        self._unpack(chunk.beside, zeros)
        stack = BitStack(chunk.words)
        for rows in reversed(self.blocks.plan.blocks(chunk.rows)):
            self.blocks.decode({key: leaf[rows.start : rows.stop] for key, leaf in zeros.items()}, stack)
        left = stack.words()
        same = len(left) == chunk.first and digest(left.tobytes())[:8] == chunk.first_digest
        return zeros if same and rows_digest(zeros) == chunk.digest else None

    # --- what no site observes ------------------------------------------------------------------------------
    def look(self, few: Batch) -> None:
        """See on a few rows which elements of the arguments no site observes."""
        placed = self.blocks.placed(few)
        kept = self.blocks.run("model", placed, {}, self.blocks.plan.parts).kept
        for key, leaf in few.leaves.items():
            left = torch.ones(leaf.shape, dtype=torch.bool)
            for site, part in self.blocks.plan.parts.items():
                if part.key == key:
                    part.of(left, kept[site].value.shape).fill_(False)
            if bool(left.any()):
                self._left[key] = left[:1]

    def _packed(self, leaves: Mapping[int | str, Tensor]) -> bytes:
        content = [
            torch.where(self._left[key], leaf, torch.zeros((), dtype=leaf.dtype)) if key in self._left else None
            for key, leaf in leaves.items()
        ]
        text = b"".join(b"\0" if one is None else b"\1" + _bytes(one) for one in content)
        return zlib.compress(text, 9) if self._left else b""

    def _unpack(self, packed: bytes, leaves: Arguments) -> None:
        if not packed:
            return
        limit = sum(1 + leaf.nbytes for leaf in leaves.values())
        text = zlib.decompressobj().decompress(packed, limit)
        for leaf in leaves.values():
            here, text = text[:1], text[1:]
            if here == b"\1":
                size = leaf.nbytes
                leaf.view(-1).view(torch.uint8).copy_(torch.frombuffer(bytearray(text[:size]), dtype=torch.uint8))
                text = text[size:]
        if text:
            raise FileError("more stands beside the rows than they have arguments.")


def rows_digest(leaves: Mapping[int | str, Tensor]) -> bytes:
    """Of the rows to the last bit."""
    return digest(*(_bytes(leaf) for leaf in leaves.values()))


def _bytes(leaf: Tensor) -> bytes:
    return leaf.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
