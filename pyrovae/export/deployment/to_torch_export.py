"""Parts of a pair as programs of `torch.export`, for programs with torch, but without Pyro and this package."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pyrovae.export.deployment.exported_part import ExportedPart, PartProgram, Runner, check_parts, programs
from pyrovae.export.deployment.part_folder import write_parts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.sampler import Sampler


@in_turn
def to_torch_export(
    pair: HasPair,
    /,
    *data: Any,
    folder: str | os.PathLike[str],
    parts: Sequence[str] = ("encode", "decode", "elbo"),
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, ExportedPart]:
    """Write parts of a pair as programs of `torch.export` (`encode.pt2`, ...), otherwise like `to_onnx`.

    `torch.export.load(file).module()(*inputs)` gives the outputs in their order.

    Args:
        pair: any pair whose code does not look at values.
        *data: the arguments of model and guide, some rows; a program takes any number of them.
        folder: where to.
        parts: which of "encode", "decode" and "elbo".
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{part: ExportedPart}`, as `to_onnx` does.

    Raises:
        PairError: a part cannot be a graph, or what was written says something else than the pair. Nothing is written.

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 8)), pv.DiagNormal(pv.MLP(8, [], 4)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = pv.to_torch_export(vae, torch.ones(3, 8), folder=folder, parts=["decode"])
        ...     decode = torch.export.load(done["decode"].file).module()
        >>> done["decode"].outputs, decode(torch.zeros(5, 2))[1].shape
        (('x.logits', 'x.mean', 'x.stddev'), torch.Size([5, 8]))
    """
    listed = check_parts(parts)
    sampler = Sampler.of(pair, data, named, seed=0, data_plate=data_plate)
    return write_parts(sampler, programs(sampler, listed), folder, ".pt2", _write)


def _write(one: PartProgram, path: Path) -> Runner:
    written = io.BytesIO()  # a disk that is full would end the process inside of torch's own writer
    torch.export.save(one.program, written)
    path.write_bytes(written.getbuffer())
    module = torch.export.load(str(path)).module()
    return lambda inputs: module(*inputs.values())
