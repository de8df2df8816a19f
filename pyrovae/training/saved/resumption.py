"""Stopping and going on: when a training writes checkpoints, what is in them, and how it starts from one."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pyrovae import __version__
from pyrovae.data.batch_sources import Batch
from pyrovae.data.batches import Batches
from pyrovae.data.data_units import units_document
from pyrovae.errors import ArgumentError, FileError, argument, warn_user
from pyrovae.pairs.looks.isolation import reseed
from pyrovae.training.epoch import Epoch
from pyrovae.training.parallel.team import SingleProcess, agreed
from pyrovae.training.passes import once
from pyrovae.training.plan import Plan
from pyrovae.training.saved.checkpoints import checkpoints_in, identity, newest_checkpoint, write_checkpoint
from pyrovae.training.saved.folder_lock import FolderLock
from pyrovae.training.saved.history_file import HistoryFile
from pyrovae.training.saved.probe_elbo import is_same_elbo, probe_elbo
from pyrovae.training.saved.random_states import (
    generator_states,
    random_tree,
    restore_random,
    set_generator_states,
)
from pyrovae.training.saved.run_description import Description, difference, only_common_buffers, without_state
from pyrovae.training.saved.trainer_state import restore_trainer, trainer_state
from pyrovae.training.saved.weight_files import shapes_of, toml_of, write_in_place
from pyrovae.training.step import Step
from pyrovae.training.trainer import Trainer

logger = logging.getLogger("pyrovae")


class Resumption:
    """The folder of a training's checkpoints: what is written there, when, and how a training goes on from it."""

    def __init__(self, folder: Path | None, every: float, *, resume: bool, team: SingleProcess):
        self.team = team
        self.folder = folder
        self.every = every
        self.resume = resume
        self.last: Path | None = None
        self._skipped = False
        self._due = time.monotonic() + every
        self._start: Any = None  # random states at the epoch's start, which decide a DataLoader's order
        self.document: dict[str, Any] = {}
        self._history = None if folder is None else HistoryFile(folder)
        self._content: tuple[Path, Any, Any, Any] | None = None
        self._lock: FolderLock | None = None
        self._check()

    def _check(self) -> None:
        if self.folder is None:
            if self.resume:
                raise ArgumentError(
                    f"{argument('resume', True)} needs {argument('checkpoint')}, the folder of the run to go on with."
                )
            return
        checkpoints_in(self.folder)
        if self.team.first:  # which alone writes
            self._lock = FolderLock(self.folder)
        try:
            self._look(self.folder)
        except BaseException:
            self.release()
            raise

    def _look(self, folder: Path) -> None:
        if self.resume:
            self._content = newest_checkpoint(folder, alone=self.team.first)
        elif checkpoints_in(folder):
            raise FileError(
                f"{folder} holds checkpoints of an earlier run, which are left as they are. "
                f"Go on with it ({argument('resume', True)}), or choose another folder."
            )

    def release(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            self._lock.release()

    @property
    def resumes(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self._content is not None

    @property
    def seed(self) -> int | None:
        """The seed of the run to go on with."""
        return None if self._content is None else self._content[3]["seed"]

    @property
    def identity(self) -> str | None:
        """What its checkpoints know the run by; None where there are none."""
        return identity(self.document) if self.document else None

    @property
    def described(self) -> Description | None:
        """What the run to go on with was, when it began."""
        return None if self._content is None else self._content[3]["run"]

    def describe(self, described: Description, plan: Plan) -> None:
        """Note what must be the same when this run is resumed.

        Raises:
            ArgumentError: it is to go on with a run of other arguments, or of another pair.
            DataError: of other data.
        """
        if self.folder is None:
            return
        if self._content is not None:
            path, weights, _, document = self._content
            self._check_alike(path, plan, without_state(document["run"], weights), described)
            described = document["run"]
        self.document = {
            "pyrovae": __version__,
            "seed": plan.seed,
            "run": described,
            "batch": shapes_of(plan.first),
            "schema": toml_of(plan.pair),
            "units": units_document(plan.pair),
        }

    def _check_alike(self, path: Path, plan: Plan, before: Description, now: Description) -> None:
        found = difference(plan, before, only_common_buffers(now, before))
        if found is not None:
            raise found.error(
                f"{found.what} was {found.one} in the run of {path} and is {found.other} now; a run is resumed with "
                f"the same pair, data and arguments ({argument('epochs')} and {argument('steps')} may grow). Go back "
                "to what it was, or start a run of its own in another folder."
            )
        for which in ("data", "validation"):
            words = now[which] and now[which]["values"][2]
            if self.team.first and words and not words.startswith("all "):
                logger.warning("of the run of %s, %s of the %s could be compared.", path, words, which)

    def prepare(self) -> None:
        """Make the folder and write to it once: a disk that takes nothing should say so before hours of training."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(bytes(4096))
                file.flush()
        except OSError as error:
            raise FileError(
                f"{self.folder} takes no checkpoint: {error.strerror}. Choose another folder for checkpoint=."
            ) from error

    # --- writing --------------------------------------------------------------------------------------

    def start_epoch(self, batches: Batches) -> None:
        """Note the random states from which a DataLoader draws its order."""
        if not batches.random_access:
            self._start = {"random": random_tree(), "generators": generator_states(batches)}

    def after(self, done: Step | Epoch, trainer: Trainer) -> None:
        """Write a checkpoint after each epoch, and after a step where the last one is long enough ago."""
        if isinstance(done, Epoch) or (self.folder is not None and self._is_due(trainer.step)):
            self.write_if_possible(trainer)

    def _is_due(self, step: int) -> bool:
        return agreed(self.team, step, time.monotonic() >= self._due)

    def write_if_possible(self, trainer: Trainer) -> None:
        """Write a checkpoint now; a disk that takes none costs the checkpoint, and not the training."""
        try:
            self.write(trainer)
        except FileError as error:
            if not self._skipped:  # said once, until one is written again
                words = f"{str(error).rstrip('.')}. This checkpoint is skipped, and the training goes on without it."
                warn_user(words)
            self._skipped = True
        else:
            self._skipped = False

    def write(self, trainer: Trainer) -> None:
        """Write a checkpoint now."""
        if self.folder is None:
            return
        trainer.read()
        self._write(trainer, self.team.all_gather(random_tree()))

    def write_alone(self, trainer: Trainer) -> None:
        """Write what this process has, when others were lost in the middle of a step."""
        if self.folder is not None and self.team.first:
            if trainer.passes.random is not None:
                torch.set_rng_state(trainer.passes.random)
            self._write(trainer, [random_tree()])

    def write_at_leaving(self, trainer: Trainer, why: BaseException) -> bool:
        """Write a checkpoint at the end of the loop; False where other processes went on, which are told why."""
        states = self.team.parting(random_tree(), why)
        if self.folder is not None:
            trainer.read()
            self._write(trainer, states or [random_tree()])
        return states is not None

    def _write(self, trainer: Trainer, random: list[Any]) -> None:
        self._due = time.monotonic() + self.every
        if not self.team.first or self.folder is None or self._history is None:
            return
        tree = {
            **trainer_state(trainer),
            "history": self._history.write(trainer.history),
            "random": random[0],
            "others": random[1:],  # of the other processes of a parallel run
            "processes": self.team.size,
            "start": self._start,
            "generators": generator_states(trainer.plan.batches),
            "probe": probe_elbo(trainer.plan),
        }
        try:
            self.last = write_checkpoint(self.folder, trainer.step, trainer.weights(), tree, self.document)
        except FileError:
            self._history.undo()
            raise

    # --- reading --------------------------------------------------------------------------------------

    def restore(self, trainer: Trainer) -> None:
        """Put a trainer, its pair and all random states where the checkpoint left them."""
        if self._content is None or self._history is None:
            return
        path, weights, state, _ = self._content
        history = self._history.read(state["history"], path)
        trainer.passes.shown.parameters = once(trainer.plan.structure.parameters)
        if state["depth"] is not None:
            trainer.plan.loss.max_plate_nesting = state["depth"]  # type: ignore[union-attr]
        before = {name: tensor.detach().clone() for name, tensor in trainer.weights().items()}
        write_in_place(path, trainer.weights(), weights)
        known, now = state["probe"], probe_elbo(trainer.plan)
        if not is_same_elbo(now, known):
            write_in_place(path, trainer.weights(), before)
            raise ArgumentError(
                f"the pair of the run of {path} is another one: with the same weights and data its ELBO was "
                f"{known:.6g} and is {now:.6g} now. Resume with the same model and guide, or start a run of its own in "
                "another folder."
            )
        restore_trainer(trainer, state)
        trainer.history = history
        self._start = state["start"]
        set_generator_states(trainer.plan.batches, state["generators"])
        self.last = path
        self._restore_random([state["random"], *state["others"]], state["processes"], trainer)

    def _restore_random(self, states: list[Any], processes: int, trainer: Trainer) -> None:
        if len(states) == processes == self.team.size:
            restore_random(states[self.team.rank])
            return
        reseed((trainer.plan.seed + trainer.step * 0x9E3779B97F4A7C15 + self.team.rank) % 2**63)
        if not self.team.first:
            return
        why = (
            f"drew its random numbers in {processes} process(es), and is gone on with in {self.team.size}"
            if processes != self.team.size
            else f"lost a process, and with it the random numbers of {processes - len(states)} of its {processes}"
        )
        warn_user(f"the run of {self.last} {why}: they are drawn afresh from here on.")

    def batches(self, batches: Batches, epoch: int, position: int) -> Iterator[Batch]:
        """The batches of an epoch, from a position on."""
        if batches.random_access or not position or self._start is None:
            self.start_epoch(batches)
            return batches.epoch(epoch, skip=position)
        _warn_of_chance(batches)
        now = random_tree()
        restore_random(self._start["random"])
        set_generator_states(batches, self._start["generators"])
        remaining = batches.epoch(epoch, skip=position)
        restore_random(now)
        return remaining


def _warn_of_chance(batches: Batches) -> None:
    loader = getattr(batches.source, "loader", None)
    # Workers that persist draw their base seed only once, before the first epoch.
    if not batches.repeatable() or getattr(loader, "persistent_workers", False):
        warn_user(
            "the data set gives other values when it is asked again, so the resumed epoch is not the one that "
            "was interrupted. Draw such noise in transform=, which is resumed exactly."
        )
