"""A model run as a program that makes data: what it draws where it observes, beside what it observes there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae.errors import ArgumentError
from pyrovae.objectives.figures import is_data, untempered
from pyrovae.objectives.left_out import leave_out
from pyrovae.objectives.particles import frame_of
from pyrovae.objectives.penalised import Draw, beside
from pyrovae.pairs.implicit_draws import WithoutDensity
from pyrovae.pairs.lawful_values import filled, given_value
from pyrovae.pairs.looks.isolation import isolated
from pyrovae.pairs.masks import mask_around
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.same_numbers import same_where_known
from pyrovae.pairs.structure import Structure
from pyrovae.pairs.trace import rows_moved, samples


class Program(Messenger):
    """Around a model: where it observes it draws, and goes on with the draw; latent sites are its own affair.

    Outside, each site holds its data as ever, without a density: none is asked for.

    Attributes:
        draws: what the model draws at each site.
        observed: what it observes there.
        data: the plates around these sites.
    """

    def __init__(self):
        super().__init__()
        self.draws: dict[str, Draw] = {}
        self.observed: dict[str, Tensor] = {}
        self.data: list[tuple] = []
        self._fn: Any = None

    def _pyro_sample(self, msg) -> None:
        if site_is_subsample(msg):
            return
        if not msg["is_observed"]:
            msg["stop"] = True
        elif is_data(msg):
            self._fn, msg["fn"] = msg["fn"], WithoutDensity(msg["fn"])
            leave_out(msg)

    def _pyro_post_sample(self, msg) -> None:
        # A trace around this one has taken the data by now; what is set here is what the model goes on with.
        if site_is_subsample(msg):
            return
        if not msg["is_observed"]:
            _check_pathwise(msg["name"], msg["fn"])
        elif is_data(msg):
            name, fn, (scale, mask) = msg["name"], self._fn, untempered(msg)
            self.observed[name] = given_value(msg)
            _check_data(name, fn, self.observed[name], scale, mask)
            self.data.append(msg["cond_indep_stack"])
            msg["value"] = fn.rsample() if fn.has_rsample else fn.sample()
            _check_pathwise(name, fn)
            self.draws[name] = Draw(fn, msg["value"], scale, mask, msg["cond_indep_stack"])


class GeneratedSides:
    """What a model draws at its observed sites and what it observes there, side by side, (rows, numbers)."""

    def __init__(self, program: Program, plate: str, data: tuple[Tensor, ...]):
        self.program, self.plate, self.data = program, plate, data
        self.site = None  # temper weights a KL of latent sites, and this is none

    def compared(self, contrast: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws, data to tell them from, and nothing that is known of how far they are from another."""
        drawn, seen = self.program.draws, self.program.observed
        values = beside({name: draw.value for name, draw in drawn.items()}, drawn, self.plate)
        data = beside({name: seen[name] for name in drawn}, drawn, self.plate)
        return values, data.to(values), values.new_zeros(())


def _check_pathwise(name: str, fn: Any) -> None:
    """Draws whose distribution is learned carry gradients; where it is not, they need none."""
    if fn.has_rsample or not torch.is_grad_enabled() or not fn.log_prob(fn.sample()).requires_grad:
        return
    raise ArgumentError(
        f"adversarial: the model draws {name!r} without a pathwise gradient (has_rsample), from a distribution with "
        "parameters to learn, which a discriminator of draws cannot teach. Use a relaxed one "
        "(RelaxedBernoulliStraightThrough, RelaxedOneHotCategorical), or let the decoder's output itself be the draw: "
        f"pyro.sample({name!r}, dist.Delta(...), obs=...)."
    )


def _check_data(name: str, fn: Any, value: Any, scale: Any, mask: Any) -> None:
    reasons = {
        "is masked: what is missing would tell data from draws": mask_around(fn, mask, value) is not None,
        "is weighted row by row": isinstance(scale, Tensor) and scale.numel() > 1,
        "observes what is computed of the model's own draws": value.requires_grad,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ArgumentError(
                f"adversarial: the observed site {name!r} {reason}, so that its draws cannot be told "
                "from data. Take that out, or train by the likelihood."
            )


def generated_words(name: str) -> str:
    """Why a training by draws has no ELBO, and what says how good they are."""
    return (
        f"the model is taught by a discriminator that tells its draws at {name!r} from data (adversarial), not by its "
        "likelihood; latent sites are drawn from the prior, and the guide is as it was. How far draws are told from "
        "data that nobody has seen says pv.discriminator(pair, held_out), by held-out loss; the loss of the history "
        "hardly does, since the discriminator learns with the model."
    )


# --- once, before the first pass ----------------------------------------------------------------------
def check_program(structure: Structure, names: Iterable[str], contrast: int) -> None:
    """Refuse a model whose draws are not all that there is to learn."""
    if contrast:
        raise ArgumentError(
            "adversarial: contrast is of a guide, and the model's draws at observed sites are told from data. Leave it "
            "out."
        )
    if others := [name for name in structure.named("observed") if name not in names]:
        raise ArgumentError(
            f"adversarial: the model observes {others[0]!r}, too, which its own draws would not explain. Name all "
            f"observed sites, or give {others[0]!r} as an argument that the model is conditioned on."
        )
    if shared := structure.drawn(local=False):
        raise ArgumentError(
            f"adversarial: {shared[0]!r} is drawn for all rows together, and what data say of it is said by a "
            "likelihood, which a discriminator of draws is not. Make it a parameter."
        )


def covariates(pair: HasPair, args: tuple, kwargs: Mapping[str, Any], plate: str | None) -> tuple[int | str, ...]:
    """Positions and names of the arguments that no observed site holds: these stay when their rows are moved."""
    before, axes = _observed(pair, args, kwargs, plate)
    given = {key: leaf for key, leaf in [*enumerate(args), *kwargs.items()] if isinstance(leaf, Tensor) and leaf.ndim}
    return tuple(
        key
        for key, leaf in given.items()
        if not any(leaf.data_ptr() == value.data_ptr() for value in before.values())
        and not _moves(pair, args, kwargs, plate, key, before, axes)
    )


def _moves(
    pair: HasPair,
    args: tuple,
    kwargs: Mapping[str, Any],
    plate: str | None,
    key: int | str,
    before: dict[str, Tensor],
    axes: dict[str, int | None],
) -> bool:
    """Whether what is observed moves with an argument."""
    rolled, named = _rolled(args, kwargs, key)
    try:
        after, _ = _observed(pair, rolled, named, plate)
    except Exception:  # a pair may refuse, in its own way, rows of arguments that do not go together
        return same_where_known(kwargs[key] if isinstance(key, str) else args[key], before.values())
    return rows_moved(before, after, axes)


def _rolled(args: tuple, kwargs: Mapping[str, Any], key: int | str) -> tuple[tuple, dict[str, Any]]:
    rolled = {name: leaf.roll(1, 0) if name == key else leaf for name, leaf in [*enumerate(args), *kwargs.items()]}
    return tuple(rolled[place] for place in range(len(args))), {name: rolled[name] for name in kwargs}


def _observed(
    pair: HasPair, args: tuple, kwargs: Mapping[str, Any], plate: str | None
) -> tuple[dict[str, Tensor], dict[str, int | None]]:
    """What the model observes, and where its rows stand."""
    with isolated(0), torch.no_grad():
        run = poutine.trace(filled(pair.model)).get_trace(*args, **kwargs)
    nodes = {name: node for name, node in samples(run) if is_data(node)}
    frames = {name: frame_of(node, plate) for name, node in nodes.items()}
    axes = {name: frame and frame.dim - len(nodes[name]["fn"].event_shape) for name, frame in frames.items()}
    return {name: node["value"] for name, node in nodes.items()}, axes
