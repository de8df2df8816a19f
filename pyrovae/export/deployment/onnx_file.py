"""A part of a pair as an ONNX file, and that file run by onnxruntime."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, PairError, argument
from pyrovae.export.deployment.exported_part import PartProgram, Runner
from pyrovae.pairs.looks.isolation import log_level


class OnnxLibraries(NamedTuple):
    """What writes and what runs such files."""

    onnx: Any
    runtime: Any


def onnx_libraries() -> OnnxLibraries:
    """The libraries, where they are installed."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch's exporter writes by
    except ImportError:
        raise ArgumentError(
            "writing ONNX needs onnx, onnxscript and onnxruntime, which are an extra: pip install 'pyrovae[onnx]'."
        ) from None
    return OnnxLibraries(onnx, onnxruntime)


def write_onnx(one: PartProgram, path: Path) -> None:
    """Write a part.

    Raises:
        PairError: it has an operation that ONNX has not.
    """
    with warnings.catch_warnings(), log_level("torch.onnx", 50), log_level("onnxscript", 50), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            written: Any = torch.onnx.export(
                one.program.run_decompositions({torch.ops.aten.lgamma.default: _log_gamma}),
                dynamo=True,
                verbose=False,
                input_names=[given.name for given in one.inputs],
                output_names=list(one.outputs),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise PairError(
                f"{one.part.name!r} cannot be written as ONNX: {_first_words(error)}. Leave it out "
                f"({argument('parts')}), or write the part as torch's own program (pv.to_torch_export)."
            ) from error
    written.model.metadata_props["pyrovae"] = json.dumps([given._asdict() for given in one.inputs])
    written.save(str(path))


def _log_gamma(x: torch.Tensor) -> torch.Tensor:
    """log Γ of positive numbers by Stirling's series, in double precision to 1e-11: ONNX has each of its operations."""
    y = x.double()
    s, product = y + 8, y
    for more in range(1, 8):
        product = product * (y + more)
    series = 1 / (12 * s) - 1 / (360 * s**3) + 1 / (1260 * s**5) - 1 / (1680 * s**7)
    return ((s - 0.5) * s.log() - s + 0.5 * math.log(2 * math.pi) + series - product.log()).to(x.dtype)


def _first_words(error: BaseException) -> str:
    """What lies at the bottom of an error of the exporter, which speaks at length."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def onnx_runner(path: Path) -> Runner:
    """A function that runs a file by onnxruntime."""
    runtime = onnx_libraries().runtime
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, torch.Tensor]) -> Sequence[torch.Tensor]:
        given = {name: tensor.detach().contiguous().numpy() for name, tensor in inputs.items()}
        return [torch.as_tensor(value) for value in session.run(None, given)]

    return run
