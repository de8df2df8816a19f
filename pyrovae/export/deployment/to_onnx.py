"""Parts of a pair as ONNX files, for programs without torch, Pyro and this package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrovae.export.deployment.exported_part import ExportedPart, PartProgram, Runner, check_parts, programs
from pyrovae.export.deployment.onnx_file import onnx_libraries, onnx_runner, write_onnx
from pyrovae.export.deployment.part_folder import write_parts
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.sampling.sampler import Sampler


@in_turn
def to_onnx(
    pair: HasPair,
    /,
    *data: Any,
    folder: str | os.PathLike[str],
    parts: Sequence[str] = ("encode", "decode", "elbo"),
    data_plate: str | None = None,
    **named: Any,
) -> dict[str, ExportedPart]:
    r"""Write parts of a pair as ONNX, each held against the pair by onnxruntime before it is there.

    No graph draws random numbers: noise is an input, and \(z = g(\varepsilon, x)\) as the guide makes it.

    - `encode`: of data and noise, for each latent site a draw `z`, and what its distribution says: its parameters
      (`z.loc`, ...), `z.mean` and `z.stddev`. A draw that is no function of noise (of a Gamma, a Beta, of classes) is
      left out.
    - `decode`: of latent values and covariates, the same of each observed site (`x.logits`, `x.mean`, ...).
    - `elbo`: of data and noise, one draw of each row's \(\log p(x, z) - \log q(z \mid x)\).

    Args:
        pair: any pair whose code does not look at values.
        *data: the arguments of model and guide, some rows; a graph takes any number of them.
        folder: where to: `encode.onnx`, ..., and `parts.json` with names, shapes and kinds of noise.
        parts: which of them.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        `{part: ExportedPart}`: file, inputs, outputs, and the largest difference between file and pair, which is at
        most 1e-5 (of numbers above 1, in parts of them).

    Raises:
        PairError: a part cannot be a graph, or what was written says something else than the pair. Nothing is written.
        ArgumentError: onnx, onnxscript or onnxruntime are not installed.

    Examples:
        >>> import tempfile, torch, pyrovae as pv
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli(pv.MLP(2, [], 8)), pv.DiagNormal(pv.MLP(8, [], 4)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = pv.to_onnx(vae, torch.ones(3, 8), folder=folder, parts=["encode"])
        >>> [given.name for given in done["encode"].inputs], done["encode"].outputs
        (['x', 'noise.z'], ('z', 'z.loc', 'z.scale', 'z.mean', 'z.stddev'))
    """
    listed = check_parts(parts)
    onnx_libraries()
    sampler = Sampler.of(pair, data, named, seed=0, data_plate=data_plate)
    return write_parts(sampler, programs(sampler, listed), folder, ".onnx", _write)


def _write(one: PartProgram, path: Path) -> Runner:
    write_onnx(one, path)
    return onnx_runner(path)
