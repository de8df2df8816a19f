"""One training from its arguments to its `Fit`: checks, plan, steps, checkpoints, and tidying up."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pyro
import torch

from pyrovae.data.data_units import keep_units, trained_units
from pyrovae.errors import ArgumentError, DivergedError, FileError, ParallelError, PyrovaeError
from pyrovae.evaluation.active_units import ActiveUnits
from pyrovae.pairs.looks.isolation import reseed
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.seeds import check_seed
from pyrovae.pairs.turns import turn
from pyrovae.sampling.first_look import UncutError
from pyrovae.training.epoch import Epoch
from pyrovae.training.fit_options import FitOptions
from pyrovae.training.fit_result import Fit
from pyrovae.training.make_plan import (
    agree_on,
    check_arguments,
    check_folder,
    described,
    make_plan,
    warn_of_handlers,
)
from pyrovae.training.parallel.agreement import check_alike_everywhere
from pyrovae.training.parallel.team import find_team
from pyrovae.training.plan import Plan
from pyrovae.training.saved import weight_files
from pyrovae.training.saved.files import strange_content
from pyrovae.training.saved.resumption import Resumption
from pyrovae.training.saved.run_description import describe_run
from pyrovae.training.step import Step
from pyrovae.training.trackers.tracking import Tracking
from pyrovae.training.trainer import Trainer

logger = logging.getLogger("pyrovae")
verdicts = logging.getLogger("pyrovae.verdicts")


@contextmanager
def training_turn() -> Iterator[None]:
    """This thread's turn, with gradients under the caller's no_grad or inference_mode, too: else nothing is trained."""
    with turn(), torch.inference_mode(False), torch.enable_grad():
        yield


class Session:
    """One call of `fit` or `steps`: checks everything, makes the plan, runs it, and tidies up."""

    def __init__(self, pair: HasPair, data: Any, options: FitOptions):
        warn_of_handlers()
        self._closing = ExitStack()
        self.team = find_team(options.device)
        self._begun = False
        self.tracking = Tracking(options.tracker if self.team.first else None, options)
        self._closing.callback(self.tracking.leave)
        try:
            with self.telling():
                self.team.meet()
                with self.team.failing_together():
                    self._prepare(pair, data, options)
        except BaseException:
            self.close()
            raise

    def _prepare(self, pair: HasPair, data: Any, options: FitOptions) -> None:
        options = dataclasses.replace(options, **check_arguments(pair, options))
        agree_on(options, self.team)
        folder = self.team.broadcast(check_folder(options.checkpoint))  # the first process writes, so its folder counts
        self._store_before = set(pyro.get_param_store().keys())
        self.resumption = Resumption(folder, options.checkpoint_every, resume=options.resume, team=self.team)
        self._closing.callback(self.resumption.release)
        self.seed = self._seed(options.seed)
        plan, self.findings = make_plan(
            pair, data, options, seed=self.seed, resumed=self.resumption.resumes, team=self.team
        )
        keep_units(pair, trained_units(plan.batches))
        if folder is not None or self.team.size > 1:
            self._describe(options, plan)
        self.resumption.prepare()
        weight_files.keep_shapes(pair, plan.first)
        self.trainer = Trainer(plan, partial(self.resumption.batches, plan.batches))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What ends the training in this process is told to the others, who may be waiting for it."""
        try:
            yield
        except GeneratorExit:  # a loop that is left, which `leave` tells of
            raise
        except ParallelError as error:  # others have ended, and those that are left wait, too
            self.team.leave(error)
            self._save_alone(error)
            raise
        except BaseException as error:
            self.team.leave(error)
            raise

    def _save_alone(self, error: ParallelError) -> None:
        if not self._begun:
            return
        self.resumption.write_alone(self.trainer)
        if self.resumption.last is not None:
            error.args = (f"{error.args[0]} They go on from {self.resumption.last}.",)
        logger.error("%s", error)  # at once: torchrun may end this process before its traceback is out

    def close(self) -> None:
        """Let other trainings have the folder of the checkpoints, and other processes know that this one is gone."""
        self._closing.close()
        words = f"process {self.team.rank} of {self.team.size} closed the training before its first step"
        self.team.leave(ParallelError(f"{words}; make it in all of them, or in none."))

    def _describe(self, options: FitOptions, plan: Plan) -> None:
        """Find out what this run is, and refuse to go on with another one, or beside processes that make another."""
        run = describe_run(described(options), plan, self.resumption.described)
        if self.team.size > 1:
            check_alike_everywhere(self.team, plan, run)
            run = self.team.broadcast(run)  # a transform, say, may know in which process it is
        with strange_content(self.resumption.folder):
            self.resumption.describe(run, plan)

    def _seed(self, seed: int | None) -> int:
        known = self.resumption.seed
        seed = check_seed(seed)
        if seed is None:
            drawn = self.team.broadcast(
                int(torch.randint(2**31 - 1, ()))
            )  # moves the caller's generator, as any draw would
            return drawn if known is None else known
        if known is not None and known != seed:
            raise ArgumentError(
                f"seed was {known} in the run to resume and is {seed} now; leave it out, or give {known}."
            )
        return seed

    def begin(self) -> None:
        """Seed, set train mode, and go back to the checkpoint if there is one."""
        reseed(self._own_seed())
        for module in self.trainer.plan.structure.modules.values():
            # Parts in eval mode inside a module in train mode are so on purpose: a frozen BatchNorm, say.
            if not module.training:
                module.train()
        with self.team.failing_together(), strange_content(self.resumption.folder):
            self.resumption.restore(self.trainer)
        self.team.copy_(self.trainer.plan.structure.parameters.values())
        self.team.copy_(self.trainer.plan.structure.buffers().values())
        self._begun = True
        self.tracking.begin(self.trainer.step)

    def _own_seed(self) -> int:
        """The first process draws what one process would; the others draw other numbers."""
        return (self.seed + self.team.rank * 0x9E3779B97F4A7C15) % 2**63

    def draws_from_torch_alone(self) -> bool:
        """Whether no step draws from numpy or Python: a staged pair does not, and arrays of data do not."""
        batches = self.trainer.plan.batches
        return self.trainer.staging.staged and bool(batches.leaves()) and batches.transform is None

    def run(self) -> Iterator[Step | Epoch]:
        """The steps and epochs, each when complete; where the loss goes bad, the weights before it are saved first."""
        try:
            for done in self.trainer.run():
                self.resumption.after(done, self.trainer)
                self.tracking.follow(done)
                yield done
        except DivergedError as error:
            self.tracking.leave("diverged")
            self._save_after(error)
            raise

    def _save_after(self, error: DivergedError) -> None:
        try:
            if all(bool(torch.isfinite(tensor).all()) for tensor in self.trainer.weights().values()):
                self.resumption.write_at_leaving(self.trainer, error)  # the others are here, too, or will not come
        except FileError as also:
            error.add_note(f"No checkpoint could be written either: {also}")
        if self.resumption.last is not None:
            error.checkpoint = str(self.resumption.last)
            error.args = (f"{error.args[0]} The last good checkpoint is {self.resumption.last}.",)

    def interrupt(self) -> None:
        """Note that the user stopped the run."""
        self.trainer.reason = "interrupted"

    def stopped(self, run: Fit) -> None:
        """Say that the training is not whole: a program that goes on would take its pair for trained."""
        if self.team.first:  # which writes, and knows what is written
            logger.warning("training was interrupted after step %s, and %s.", f"{run.step:,}", _written(run))

    @staticmethod
    def came_too_late(run: Fit) -> None:
        """Say what is written: an interrupt has come when the last step was made."""
        logger.warning("the interrupt came when training was over: the result is whole, and %s.", _written(run))

    def leave(self) -> None:
        """The user has left the loop: write a checkpoint, and say so where other processes wait for this one."""
        team, step = self.team, self.trainer.step - 1
        left = f"process {team.rank} of {team.size} left the training after step {step}, and the others went on"
        mend = "Leave the loop at the same step in all of them; if an error ended it, mend that and start all again."
        if not self.resumption.write_at_leaving(self.trainer, ParallelError(f"{left}. {mend}")):
            logger.error("%s: they end now. %s", left, mend)

    def finish(self) -> Fit:
        """Write the last checkpoint, leave the right weights in the pair, and say how it went."""
        trainer = self.trainer
        history = trainer.rows_so_far()
        self.resumption.write_if_possible(trainer)
        weights = trainer.choose_weights()
        self._forget_loss_state()
        run = Fit(
            pair=trainer.plan.pair,
            history=history,
            weights=weights,
            reason=trainer.reason or "finished",
            step=trainer.step,
            seconds=trainer.seconds,
            seed=self.seed,
            first_elbos=tuple(trainer.first_elbos[: trainer.step]),
            no_elbo=self._why_no_elbo(),
            active=self._active_units(),
            checkpoint=self.resumption.last,
            route=trainer.staging.summary,
        )
        self.tracking.end(run)
        self.team.finish()
        if self.team.first:
            self._log(run)
        return run

    def _why_no_elbo(self) -> str:
        clauses = ("surplus-density", "mixed-measures", "hidden-latent")
        found = [finding.message for finding in self.findings if finding.clause in clauses]
        return next(iter([*found, self.trainer.plan.no_density]))

    @staticmethod
    def _log(run: Fit) -> None:
        verdicts.log(logging.WARNING if run.troubled else logging.INFO, "%s", run.verdict)

    def _active_units(self) -> dict[str, ActiveUnits]:
        """What is only looked at afterwards must not cost the result of the training."""
        try:
            return self.trainer.active_units()
        except (PyrovaeError, UncutError) as error:
            logger.warning("active latent dimensions could not be counted: %s", error)
        except Exception as error:
            logger.warning("active latent dimensions could not be counted: %s: %s", type(error).__name__, error)
        return {}

    def _forget_loss_state(self) -> None:
        """Take out of Pyro's store what only the loss put there."""
        store = pyro.get_param_store()
        for name in set(self.trainer.passes.shown.loss_state) - self._store_before:
            if name in store:
                del store[name]


def _written(run: Fit) -> str:
    return "no checkpoint was asked for" if run.checkpoint is None else f"the last checkpoint is {run.checkpoint}"
