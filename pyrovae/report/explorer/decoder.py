"""What a model says of one row's data as a function of its latent sites, with no Pyro in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyrovae.data.batch_sources import Batch
from pyrovae.errors import PairError
from pyrovae.report.explorer.constant_pool import ConstantPool
from pyrovae.report.explorer.latent_axes import LatentAxes, MovedSite
from pyrovae.report.explorer.page_operations import HANDLERS
from pyrovae.report.explorer.page_program import Compiled, NotInPageError, compiled
from pyrovae.report.explorer.shown_sites import ShownPart, centres, shown_parts
from pyrovae.report.explorer.traced_graph import traced_graph
from pyrovae.sampling.sampler import Sampler
from pyrovae.sampling.whole_sites import observed_part

_NEAR = 1e-4  # how far a graph may be from the pair itself: of rounding, where operations are taken apart


class Situation(NamedTuple):
    """What is held while latent numbers move: the row of data that stands for covariates, and discrete sites."""

    batch: Batch
    discrete: Mapping[str, torch.Tensor] = {}


class _Held(Messenger):
    """Latent sites have given values."""

    def __init__(self, sites: Mapping[str, MovedSite], free: Mapping[str, torch.Tensor], held: Mapping[str, Any]):
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
        """What is shown of each site; use it while the pair is looked at."""
        held = {**self.shared, **situation.discrete}
        given = _Held(self._sites, self.axes.parts(free), held)
        model = given(self.sampler.model_on(situation.batch))
        trace = poutine.trace(model).get_trace(*situation.batch.args, **situation.batch.kwargs)
        return {name: shown_parts(trace.nodes[part]["fn"], self._centres[name]) for name, part in self._inside.items()}

    def outputs(self, free: torch.Tensor, situation: Situation) -> list[torch.Tensor]:
        """The numbers of all sites one after the other."""
        found = self.parts(free, situation)
        return [output for parts in found.values() for part in parts for output in part.outputs]

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """The pair as it is asked; what its guide notes of its first data (the unit of images) is noted."""
        with self.sampler.use.quietly(1):
            self.sampler.run(self.sampler.use.first(self.sampler.tile_rows))
            yield

    def plain_parts(self, situation: Situation) -> dict[str, list[ShownPart]]:
        """What is shown of each site at the centre of the codes."""
        with self._looking():
            return self.parts(self.axes.means.mean(0).to(self.axes.dtype), situation)

    def program(self, situation: Situation, points: torch.Tensor, pool: ConstantPool) -> tuple[Compiled, torch.Tensor]:
        """Its operations as steps of a page, and what they come to at the last point.

        At all of the points they are compared with the pair itself.

        Raises:
            PairError: it does what a page cannot, or what no function of its latent sites does.
        """
        with self._looking():  # to the end: constants of a graph are the pair's own tensors
            try:
                graph = traced_graph(lambda free: self.outputs(free, situation), points[0])
                made = compiled(graph, points[0], pool, HANDLERS)
            except NotInPageError as error:
                raise _refused(f"it {error}") from error
            for point in points:
                _check(graph(point), self.outputs(point, situation), "draws numbers of its own on the way")
            return made, torch.cat([output.reshape(-1) for output in made.exactly(points[-1])])

    def check_alone(self, situation: Situation, others: Sequence[Situation], point: torch.Tensor) -> None:
        """Refuse a model that reads the data themselves: rows of the same covariates say the same.

        Raises:
            PairError: they do not.
        """
        words = "reads the data that it observes (as an autoregressive decoder does)"
        with self._looking():
            wanted = self.outputs(point, situation)
            for other in others:
                _check(self.outputs(point, other), wanted, words)

    def same(self, situations: Sequence[Situation], points: torch.Tensor) -> bool:
        """Whether the model says the same in all of these situations."""
        with self._looking():
            said = [[torch.cat(self._flat(point, one)) for point in points] for one in situations]
        return all(_near(one, first).all() for other in said[1:] for one, first in zip(other, said[0], strict=True))

    def _flat(self, point: torch.Tensor, situation: Situation) -> list[torch.Tensor]:
        return [output.reshape(-1).double() for output in self.outputs(point, situation)]


def _check(found: list[torch.Tensor], wanted: list[torch.Tensor], words: str) -> None:
    for one, other in zip(found, wanted, strict=True):
        if not bool(_near(one, other).all()):
            raise PairError(
                "the page shows what the model says at a place in latent space, and the model of this pair says "
                f"something else each time: it {words}."
            )


def _near(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    near = (one - other).abs() <= _NEAR * other.abs().clamp(min=1.0)
    return near | (one == other) | (one.isnan() & other.isnan())


def _refused(words: str) -> PairError:
    return PairError(
        f"the decoder cannot run in a page: {words}. Networks of linear layers, one- or two-dimensional convolutions, "
        "normalisation in eval mode, recurrent cells, attention and the usual activations can; write_report shows the "
        "others."
    )
