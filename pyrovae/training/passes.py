"""One pass of the loss by Pyro, its checks, and the update that follows it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.ops.provenance import detach_provenance

from pyrovae.checks.supports import validates
from pyrovae.data.batch_sources import Batch
from pyrovae.errors import ArgumentError, DataError, DivergedError, argument
from pyrovae.objectives.adversarial import Adversarial, discriminators
from pyrovae.objectives.losses import loss_and_gradients
from pyrovae.objectives.record import Recorded
from pyrovae.pairs.claims import claim, statements_of
from pyrovae.pairs.fixed_plate import FixedPlate
from pyrovae.pairs.looks.isolation import isolated, validation
from pyrovae.pairs.names import canonical
from pyrovae.pairs.trace import run, samples, unconstrained
from pyrovae.staged.precision import computing_in
from pyrovae.staged.settings import Shown
from pyrovae.training.parallel.alike import Alike
from pyrovae.training.parallel.shares import Share, Weighted
from pyrovae.training.parallel.team import SingleProcess
from pyrovae.training.plan import Plan


def is_of_bad_numbers(error: ValueError) -> bool:
    """Whether Pyro's validation refused a parameter that is NaN or infinite."""
    words = str(error)
    return "satisfy the constraint" in words and ("nan" in words or "inf" in words)


def once(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor under one name: weights that are tied, or buffers of a part that two modules share, are one.

    The least in the alphabet, since which comes first may differ from run to run: flows of autoguides keep a weight
    under a second name, which the first call alone reads last.
    """
    names: dict[int, str] = {}
    for name, tensor in tensors.items():
        names[id(tensor)] = min(name, names.get(id(tensor), name))
    held = {id(tensor): tensor for tensor in tensors.values()}
    return {name: held[key] for key, name in names.items()}


def _values(grad: torch.Tensor | None) -> torch.Tensor:
    """The numbers of a gradient, of a sparse one those that are there."""
    assert grad is not None
    return grad.coalesce().values() if grad.is_sparse else grad


def _global_sites_alike(plan: Plan) -> tuple[Alike | None, Weighted | None]:
    """Handlers for a pair with global sites that several processes train; none where there are none."""
    if plan.shares is None or not plan.shares.global_sites:
        return None, None
    alike = Alike(plan.tempered, plan.shares.global_sites, plan.seed)
    return alike, Weighted(alike)


def first_said(team: SingleProcess, words: str | None) -> str | None:
    """What any process has to say, the first of them first."""
    return next((said for said in team.all_gather(words) if said is not None), None)


class Passes:
    """The plain path of a training: Pyro's own pass on a batch, then the optimiser.

    Attributes:
        shown: what the passes have shown so far: parameters, what the loss keeps, sites that were validated.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.alike, self.weighted = _global_sites_alike(plan)
        self.fixed = FixedPlate(self.weighted or plan.tempered, plan.structure.data_plate)
        self.recorded = Recorded(self.fixed, data_plate=plan.structure.data_plate)
        self.shown = Shown()
        self.alternating = [layer for layer in discriminators(plan.pair) if layer.rounds]
        self.step = 0
        self.epoch = 0
        self.share = Share(1.0, 1.0, {}, 1.0)
        self.random: torch.Tensor | None = None  # torch's generator before the step, where others may be lost in it
        self._error: Exception | None = None
        self._worst: str | None = None

    def begin(self, batch: Batch, step: int, epoch: int) -> None:
        """Turn to a batch, on its device."""
        self.step, self.epoch = step, epoch
        self.fixed.index = batch.positions
        self.plan.tempered.step = step
        if self.plan.team.size > 1:
            self.random = torch.get_rng_state()

    def plain_pass(self, batch: Batch) -> torch.Tensor:
        """Loss, ELBO, rate and distortion per datum of this process's rows; the gradients are left where they are.

        What goes wrong is raised by `finish`, when the other processes know of it.
        """
        self.clear_gradients()
        self._error = self._worst = None
        with poutine.trace(param_only=True) as captured, self._for_the_pair():
            try:
                loss = self._loss(batch)
            except Exception as error:
                if self.plan.team.size == 1:
                    raise
                self._error = error
                return torch.full((4,), math.nan, dtype=torch.float64)
        self._note_validated()
        self._note_parameters(captured.trace)
        size = self.recorded.size()
        self._worst = None if math.isfinite(loss) else (self.recorded.tally().worst_site() or "?")
        figures = torch.stack(
            [torch.as_tensor(figure, dtype=torch.float64).cpu() for figure in self.recorded.figures()]
        )
        return torch.cat([torch.tensor([loss / size], dtype=torch.float64), figures])

    @contextmanager
    def _for_the_pair(self) -> Iterator[None]:
        """Discriminators whose steps alternate with the pair's are left as they are."""
        with ExitStack() as stack:
            for layer in self.alternating:
                stack.enter_context(layer.turned("pair"))
            yield

    def alternate(self, batch: Batch) -> None:
        """The steps of discriminators that come before one of the pair."""
        for layer in self.alternating:
            for _ in range(layer.rounds):
                with layer.turned("discriminator"), torch.no_grad():
                    run(self.fixed, batch.args, batch.kwargs)
                    self._move(layer)

    def _move(self, layer: Adversarial) -> None:
        assert layer.loss is not None
        if not math.isfinite(float(layer.loss)):
            raise self.diverged(f"the loss of the discriminator is {float(layer.loss)}", "")
        own = {id(parameter) for parameter in layer.network.parameters()}
        known = once({**self.plan.structure.parameters, **self.shown.parameters})
        mine = {name: parameter for name, parameter in known.items() if id(parameter) in own}
        gradients = torch.autograd.grad(layer.loss, list(mine.values()), allow_unused=True)
        for parameter, gradient in zip(mine.values(), gradients, strict=True):
            parameter.grad = gradient
        live = {name: p for name, p in mine.items() if p.grad is not None and not self.plan.optimiser.frozen(name)}
        self.plan.optimiser.update(live, self.step)
        for parameter in mine.values():
            parameter.grad = None

    def clear_gradients(self) -> None:
        """Forget all gradients; before the first step a loop before this one may have left some."""
        for parameter in (self.shown.parameters or self.plan.structure.parameters).values():
            parameter.grad = None

    def finish(self, figures: torch.Tensor) -> torch.Tensor:
        """The figures of all processes together; the gradients are finite, averaged and clipped.

        Raises:
            DivergedError: the loss or a gradient is not finite.
            DataError: values outside a likelihood's support.
        """
        if self.plan.team.size > 1:
            figures = self._joined(figures)
            if not bool(torch.isfinite(figures).all()):  # in all of them: these are the sums of all
                self._share_errors()
        if self._error is not None:
            raise self._error
        live, loss = self.live(), float(figures[0])
        self._check_finite(loss, self._worst if math.isfinite(loss) or self._worst else "?", live)
        self._clip(live)
        return figures

    def _share_errors(self) -> None:
        """Know in each process what went wrong in one.

        Raises:
            DivergedError: of another one, whose numbers went bad.
            ParallelError: any other error of another one.
        """
        mine = self._error
        with self.plan.team.failing_together():
            if mine is not None and not isinstance(mine, DivergedError):
                raise mine
        told = [said for said in self.plan.team.all_gather(mine and (str(mine), mine.site)) if said]
        if told and mine is None:
            raise DivergedError(told[0][0], step=self.step, site=told[0][1])
        self._worst = first_said(self.plan.team, self._worst)

    def _joined(self, figures: torch.Tensor) -> torch.Tensor:
        """Average the gradients of every parameter that has one in any process."""
        parameters = [p for p in self.plan.structure.parameters.values() if p.requires_grad]
        there = torch.tensor([float(p.grad is not None) for p in parameters], dtype=torch.float64)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        figures, gradients = self.together(torch.cat([figures, there]), gradients)
        for parameter, gradient, known in zip(parameters, gradients, figures[4:], strict=True):
            parameter.grad = gradient if known > 0 else None
        return figures[:4]

    @torch.no_grad()
    def together(
        self, figures: torch.Tensor, gradients: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Figures and gradients of the whole batch, from this process's and the others' parts."""
        gradients = [gradient * self.share.whole for gradient in gradients]
        figures = figures.clone()
        figures[:1] *= self.share.whole * self.share.size
        figures[1:4] *= self.share.plain * self.share.size
        self.plan.team.average_([*gradients, figures])
        return figures, gradients

    def live(self) -> dict[str, torch.Tensor]:
        """The parameters that have a gradient and are not frozen."""
        frozen = self.plan.optimiser.frozen
        return {name: p for name, p in self.shown.parameters.items() if p.grad is not None and not frozen(name)}

    def update(self) -> None:
        """Move the parameters by the gradients of the last pass."""
        live = self.live()
        self.plan.optimiser.update(live, self.step)
        for parameter in live.values():
            parameter.grad = None  # as after a step of Pyro's own: a loop of the user's between two steps adds to it

    def _loss(self, batch: Batch) -> float:
        try:
            with computing_in(self.plan.precision):
                return loss_and_gradients(self.plan.loss, self.recorded, batch.args, batch.kwargs)
        except ValueError as error:
            # Validation found the fault before the loss could: a parameter or a value that no distribution takes.
            words = " ".join(str(error).split())[:500]
            if is_of_bad_numbers(error):
                site = self._to_blame(batch)
                named = f"site {site!r}" if site else "a distribution"
                raise self.diverged(f"{named} was given a parameter that is not finite", words, site=site) from error
            if "within the support" in words:
                raise DataError(
                    f"step {self.step}: a batch holds values outside the likelihood's support. {words}"
                ) from error
            raise

    def _to_blame(self, batch: Batch) -> str | None:
        """The first site that goes bad, found by running the pair once more without validation."""
        try:
            with isolated(0), validation(False), torch.no_grad():
                traces = run(self.fixed, batch.args, batch.kwargs)
                nodes = (item for trace in (traces.guide, traces.model) for item in samples(trace))
                bad = (name for name, node in nodes if not node["fn"].log_prob(node["value"]).isfinite().all())
                return next(bad, None)
        except Exception:
            return None  # it fails elsewhere, too; the error that is under way says enough

    def _note_validated(self) -> None:
        last = self.recorded.last_run()
        if last is not None and not self.shown.parameters:  # the first pass, which makes them
            claim(self.plan.pair, statements_of(last), self.plan.structure.modules.values(), trains=True)
        nodes = samples(last.model) if last is not None else ()
        self.shown.validated = frozenset(name for name, node in nodes if validates(node["fn"]))

    def _note_parameters(self, captured: Any) -> None:
        """Take in the parameters of this pass; what only the loss touched is its own state."""
        own = self.recorded.tally().parameters
        raw = {name: unconstrained(node["value"]) for name, node in captured.nodes.items()}
        stored: dict[str, Any] = pyro.get_param_store()._params
        kept = {name: stored.get(name, tensor) for name, tensor in raw.items() if name not in own}
        self.shown.loss_state = {name: detach_provenance(tensor) for name, tensor in kept.items()}
        raw = {name: tensor for name, tensor in raw.items() if name in own}
        named = dict(zip(canonical(raw), raw.values(), strict=True))
        self.shown.parameters = once({**self.shown.parameters, **named})

    def _check_finite(self, loss: float, site: str | None, live: Mapping[str, torch.Tensor]) -> None:
        if site is not None:
            named = f"the log-probability at site {site!r} went bad" if site != "?" else "no single site is to blame"
            raise self.diverged(f"the loss is {loss}", named, site=None if site == "?" else site)
        norms = torch._foreach_norm([_values(p.grad) for p in live.values()]) if live else []  # pyright: ignore[reportPrivateImportUsage]
        if norms and not math.isfinite(float(torch.stack([norm.float() for norm in norms]).sum())):
            bad = next(name for name, norm in zip(live, norms, strict=True) if not torch.isfinite(norm))
            raise self.diverged(f"the loss is finite ({loss:.6g}), but the gradient of {bad!r} is not", "")

    def diverged(self, what: str, where: str, *, site: str | None = None) -> DivergedError:
        """The error for numbers that went bad."""
        return DivergedError(
            f"step {self.step} (epoch {self.epoch + 1}): {what}{'; ' + where if where else ''}. The step was not made; "
            f"the weights are those before it. Lower the learning rate, clip gradients ({argument('clip_norm')}), or "
            "look at this batch.",
            step=self.step,
            site=site,
        )

    def _clip(self, live: Mapping[str, torch.Tensor]) -> None:
        if self.plan.clip_norm is not None and live:
            if any(p.grad is not None and p.grad.is_sparse for p in live.values()):
                raise ArgumentError("clip_norm cannot bound sparse gradients; leave it out, or use dense embeddings.")
            torch.nn.utils.clip_grad_norm_(list(live.values()), self.plan.clip_norm)
