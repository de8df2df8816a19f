"""What a model says of one row's data as a function of its latent sites, with no Pyro in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._subclasses.functional_tensor import dispatch_functionalize
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.pairs.isolation import validation
from pyrovae.report.explorer.constant_pool import ConstantPool
from pyrovae.report.explorer.latent_axes import LatentAxes, LatentSite
from pyrovae.report.explorer.page_operations import HANDLERS
from pyrovae.report.explorer.page_program import Compiled, NotInPageError, compiled
from pyrovae.report.explorer.shown_sites import ShownPart, centres, shown_parts
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_part
from pyrovae.staged.reads import unvalidated

_NEAR = 1e-4  # how far a graph may be from the pair itself: of rounding, where operations are taken apart

_APART = """
native_layer_norm native_group_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_batch_norm
_softmax _log_softmax gelu elu leaky_relu hardtanh hypot linalg_vector_norm upsample_bilinear2d upsample_bicubic2d
upsample_linear1d upsample_nearest1d
"""


class Situation(NamedTuple):
    """What is held while latent numbers move: the row of data that stands for covariates, and discrete sites."""

    batch: Batch
    discrete: Mapping[str, torch.Tensor] = {}


class _Held(Messenger):
    """Latent sites have given values."""

    def __init__(self, sites: Mapping[str, LatentSite], free: Mapping[str, torch.Tensor], held: Mapping[str, Any]):
        super().__init__()
        self.sites, self.free, self.held = sites, free, held

    def _pyro_sample(self, msg) -> None:
        name, fn = msg["name"], msg["fn"]
        if name in self.free:
            msg["value"] = self.sites[name].value(self.free[name], fn)
        elif name in self.held:
            msg["value"] = self.held[name].expand(fn.batch_shape + fn.event_shape)
        else:
            return
        msg["done"] = True


class Decoder:
    """The model of a pair on one row, its latent sites given.

    Attributes:
        sampler: of the pair and its data.
        axes: the latent sites that move.
        shared: values of the sites that all rows have in common.
        shown: the observed sites that are shown, as users know them.
    """

    def __init__(self, sampler: Sampler, axes: LatentAxes, shared: Mapping[str, torch.Tensor], shown: list[str]):
        self.sampler, self.axes, self.shared, self.shown = sampler, axes, shared, shown
        self._sites = {site.name: site for site in axes.sites}
        self._inside = {name: observed_part(sampler.structure, name) for name in shown}
        run = sampler.use.posterior_run.model
        # Looked at once, and on a plain run: whether there is a mean is a value, which no graph may branch on.
        self._centres = {name: centres(name, run.nodes[part]["fn"]) for name, part in self._inside.items()}

    def parts(self, free: torch.Tensor, situation: Situation) -> dict[str, list[ShownPart]]:
        """What is shown of each site; use it inside `sampler.use.quietly`."""
        held = {**self.shared, **situation.discrete}
        given = _Held(self._sites, self.axes.parts(free), held)
        model = given(self.sampler.model_on(situation.batch))
        trace = poutine.trace(model).get_trace(*situation.batch.args, **situation.batch.kwargs)
        return {name: shown_parts(trace.nodes[part]["fn"], self._centres[name]) for name, part in self._inside.items()}

    def outputs(self, free: torch.Tensor, situation: Situation) -> list[torch.Tensor]:
        """The numbers of all sites one after the other."""
        found = self.parts(free, situation)
        return [output for parts in found.values() for part in parts for output in part.outputs]

    def plainly(self, free: torch.Tensor, situation: Situation) -> list[torch.Tensor]:
        """The same from outside."""
        with self.sampler.use.quietly(1):
            return self.outputs(free, situation)

    def plain_parts(self, situation: Situation) -> dict[str, list[ShownPart]]:
        """What is shown of each site at the centre of the codes."""
        with self.sampler.use.quietly(1):
            return self.parts(self.axes.means.mean(0).to(self.axes.dtype), situation)

    def program(self, situation: Situation, points: torch.Tensor, pool: ConstantPool) -> Compiled:
        """Its operations as steps of a page, compared with the pair itself at some points.

        Raises:
            PairError: it does what a page cannot, or what no function of its latent sites does.
        """
        try:
            graph = self._graph(situation, points[0])
            made = compiled(graph, points[0], pool, HANDLERS)
        except NotInPageError as error:
            raise _refused(f"it {error}") from error
        with torch.no_grad():
            for point in points:
                self._check(graph(point), self.plainly(point, situation), "draws numbers of its own on the way")
        return made

    def check_alone(self, situation: Situation, other: Situation, point: torch.Tensor) -> None:
        """Refuse a model that reads the data themselves: two rows of the same covariates say the same.

        Raises:
            PairError: they do not.
        """
        words = "reads the data that it observes (as an autoregressive decoder does)"
        self._check(self.plainly(point, other), self.plainly(point, situation), words)

    def _check(self, found: list[torch.Tensor], wanted: list[torch.Tensor], words: str) -> None:
        for one, other in zip(found, wanted, strict=True):
            near = (one - other).abs() <= _NEAR * other.abs().clamp(min=1.0)
            if not bool((near | (one == other) | (one.isnan() & other.isnan())).all()):
                raise PairError(
                    "the page shows what the model says at a place in latent space, and the model of this pair says "
                    f"something else each time: it {words}."
                )

    def _graph(self, situation: Situation, point: torch.Tensor) -> GraphModule:
        def program(free: torch.Tensor) -> list[torch.Tensor]:
            return self.outputs(free, situation)

        graph = self._traced(program, point)
        if any(_writes(node) for node in graph.graph.nodes):  # such as ReLU(inplace=True)
            graph = self._traced(dispatch_functionalize(program), point)
        if any(_writes(node) for node in graph.graph.nodes):
            raise NotInPageError("writes into tensors that it has not made")
        return graph

    def _traced(self, program: Any, point: torch.Tensor) -> GraphModule:
        try:
            with self.sampler.use.quietly(1), validation(False), unvalidated():
                return make_fx(program, decomposition_table=_decompositions(), tracing_mode="real")(point)
        except Exception as error:  # a trace may fail in any way; the use of a pair says it in its own words
            raise NotInPageError(_first_line(error.__cause__ or error)) from error


def _writes(node: Node) -> bool:
    schema: Any = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _first_line(error: BaseException) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return (
        f"cannot be traced ({type(error).__name__}: {first[:160]}); what decides by a value what is done next (an if, "
        "a loop, .item()) is to be written with torch.where"
    )


def _refused(words: str) -> PairError:
    return PairError(
        f"the decoder cannot run in a page: {words}. Networks of linear layers, one- or two-dimensional convolutions, "
        "normalisation in eval mode, recurrent cells, attention and the usual activations can; write_report shows the "
        "others."
    )


def _decompositions() -> dict[Any, Any]:
    """How operations are taken apart, those left out that the page does at once."""
    core: Any = core_aten_decompositions()
    kept = {one for one in core if one._schema.name.split("::")[1] in HANDLERS}
    apart = [getattr(torch.ops.aten, name) for name in _APART.split()]
    return {**{one: how for one, how in core.items() if one not in kept}, **get_decompositions(apart)}
