"""A random generator that a pair holds of its own, seeded for a look at the pair, and put back after it."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


class GeneratorState(NamedTuple):
    """A generator, and the state that it was in."""

    generator: Any
    state: Any

    @classmethod
    def of(cls, generator: Any) -> GeneratorState | None:
        """As it is now; None for those of a whole process, which others look after, and for those without a state."""
        if any(generator is one for one in _of_the_process()):
            return None
        try:
            return cls(generator, _state(generator))
        except (NotImplementedError, AttributeError):  # the system's, or a bit generator of somebody's own
            return None

    def seed(self, seed: int, number: int) -> None:
        """Draw on as a seed says, and as no other generator does.

        Args:
            seed: that of the look.
            number: which one of the pair's generators this is.
        """
        words = np.random.SeedSequence([seed, number]).generate_state(2)
        own = int(words[0]) << 31 | int(words[1]) >> 1
        generator = self.generator
        if isinstance(generator, torch.Generator):
            generator.manual_seed(own)
        elif isinstance(generator, np.random.Generator):
            with suppress(TypeError):  # a bit generator of somebody's own
                generator.bit_generator.state = type(generator.bit_generator)(own).state
        else:
            generator.seed(own % 2**32)

    def restore(self) -> None:
        """Put the state back."""
        generator, state = self
        if isinstance(generator, torch.Generator | np.random.RandomState):
            generator.set_state(state)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        else:
            generator.setstate(state)


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()


def _of_the_process() -> tuple[Any, ...]:
    # Behind numpy's and Python's functions of modules stand generators that have no public name.
    own: Any = np.random.mtrand
    ours: Any = random.seed
    return torch.default_generator, *torch.cuda.default_generators, own._rand, ours.__self__
