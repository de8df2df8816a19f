"""A discriminator in place of a KL: guides without a density, and aggregate posteriors matched to any prior."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae.errors import ArgumentError
from pyrovae.objectives.compared_sides import ComparedSides
from pyrovae.objectives.figures import PARTICLES, TEMPERING, Tempering, data_size, holding_plate, is_data
from pyrovae.objectives.particles import frame_of
from pyrovae.objectives.penalised import Draw, same_draw
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, Side, Wrapped, wrappers
from pyrovae.pairs.registration import Registration
from pyrovae.pairs.structure import inspect
from pyrovae.pairs.trace import INTERNAL, batch_rows

Phase = Literal["both", "pair", "discriminator"]


def adversarial(
    pair: HasPair,
    network: nn.Module,
    *,
    sites: Sequence[str] | None = None,
    aggregate: bool = False,
    rounds: int = 1,
    contrast: int = 0,
    data_plate: str | None = None,
) -> Adversarial:
    r"""Put a discriminator in place of the KL of latent sites: no density of the guide is asked for.

    \[ \operatorname{KL}(q(z \mid x) \,\|\, p(z)) = \mathbb E_q\, T^*(x, z), \qquad T^* = \arg\min_T\;
    \mathbb E_q \operatorname{softplus}(-T) + \mathbb E_p \operatorname{softplus}(T) \]

    which is adversarial variational Bayes. With `aggregate=True` T sees z alone, so that \(\mathbb E_q T\) is the KL of
    the aggregate posterior from the prior: an adversarial autoencoder, whose prior need only be drawn from. Under `fit`
    the steps of T and of the pair alternate, and T is in every checkpoint; in an `SVI` loop of your own both move at
    once. A prior with a density is trained by it, as ever.

    Args:
        pair: any pair with continuous latent sites of each row, `pv.Implicit` in the guide say.
        network: T. It takes the values of the sites, (rows, numbers), and unless `aggregate` the arguments of the
            model after them: `pv.MLP([2, 784], [256, 256], 1)`.
        sites: which; left out, every continuous latent site of each row.
        aggregate: whether the aggregate posterior is matched, and not each row's.
        rounds: steps of T before each step of the pair; 0: both in one step.
        contrast: of how many draws of each row the guide's mean and scale are found: T then tells the guide from a
            normal with these, and sees how many scales z lies from the mean. It has less to learn, and the rest of the
            KL is known. 0: it tells the guide from the prior.
        data_plate: the plate of the data, where several hold all observed sites and have the batch's length.

    Returns:
        A pair. `temper` weights what stands in place of the KL. Its ELBO is that of the guide's own densities, and NaN
        where it has none: the evidence is never read from T.

    References:
        Mescheder et al., "Adversarial variational Bayes" (2017); Makhzani et al., "Adversarial autoencoders" (2015).

    Examples:
        >>> import torch, pyrovae as pv
        >>> posterior = pv.Implicit(pv.MLP([5, 3], [8], 2), noise=3)
        >>> vae = pv.VAE(pv.StandardNormal(2), pv.Normal(pv.MLP(2, [], 5), scale=1.0), posterior)
        >>> pair = pv.adversarial(vae, pv.MLP([2, 5], [16], 1))
        >>> run = pv.fit(pair, torch.randn(64, 5), steps=3, batch_size=16, progress=False)
    """
    return Adversarial(pair, network, sites, aggregate=aggregate, rounds=rounds, contrast=contrast, plate=data_plate)


class Adversarial(Wrapped):
    """A pair with a discriminator in place of the KL of some sites; see `adversarial`.

    Attributes:
        phase: which of the two a pass is for.
        loss: of the discriminator in the last pass for it.
    """

    of_the_loss = True

    def __init__(
        self,
        pair: HasPair,
        network: nn.Module,
        sites: Sequence[str] | None,
        *,
        aggregate: bool,
        rounds: int,
        contrast: int,
        plate: str | None,
    ):
        if not isinstance(network, nn.Module):
            raise ArgumentError(f"adversarial takes a network (a torch.nn.Module) as discriminator, got {network!r}.")
        if isinstance(sites, str):
            raise ArgumentError(f"adversarial: sites is a list of names; write sites=[{sites!r}].")
        if discriminators(pair):
            raise ArgumentError(
                "adversarial: the pair has a discriminator in place of its KL already. Give one discriminator all "
                "sites (sites=[...]), around the pair as it was before."
            )
        self.pair, self.network, self.sites, self.data_plate = pair, network, sites, plate
        self.aggregate = bool(aggregate)
        self.rounds = check_count("rounds", rounds, least=0, where="adversarial: ")
        self.contrast = check_count("contrast", contrast, least=0, where="adversarial: ")
        if self.contrast == 1 or (self.contrast and self.aggregate):
            raise ArgumentError(
                "adversarial: contrast takes two draws at least, and the guide of each row, no aggregate."
            )
        self.settings = {"sites": sites, "aggregate": aggregate, "rounds": rounds, "contrast": contrast}
        self.phase: Phase = "both"
        self.loss: Tensor | None = None
        self._registration = Registration("adversarial")
        self._names: tuple[str, ...] | None = None
        self._drawn: dict[str, Draw] | None = None

    @contextmanager
    def turned(self, phase: Phase) -> Iterator[None]:
        """Passes for the pair alone, or for the discriminator alone."""
        self.phase = phase
        try:
            yield
        finally:
            self.phase, self.loss = "both", None

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Leave the sites' densities out on both sides, and add what stands in their place to a replayed model."""
        drawn, self._drawn = self._drawn, None
        names = self._chosen(args, kwargs)
        with _LeftOut(names) as left:
            yield
        if side == "guide":
            self._drawn = left.draws
        elif drawn is not None and self._replayed(drawn, left.draws):
            self._registration(self.network)
            if self.phase != "discriminator" and not torch.is_grad_enabled():
                return  # nothing is trained: figures never see it
            rows = batch_rows(args, kwargs)
            plate = holding_plate(left.data, rows, self.data_plate)
            for draw in (*drawn.values(), *left.draws.values()):
                _check(draw, str(plate))
            data = () if self.aggregate else _row_arguments(args, kwargs, rows)
            self._add(ComparedSides(drawn, left.draws, str(plate), data), data_size(left.data, rows, self.data_plate))

    @staticmethod
    def _replayed(drawn: Mapping[str, Draw], scored: Mapping[str, Draw]) -> bool:
        return all(name in scored and same_draw(drawn[name].value, scored[name].value) for name in drawn)

    def _chosen(self, args: tuple, kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        if self._names is None:
            with torch.enable_grad():
                structure = inspect(self.pair, args, kwargs, data_plate=self.data_plate)
            known = [name for name in structure.named("latent", local=True) if not structure.sites[name].summed]
            wrong = [name for name in self.sites or [] if name not in known]
            if wrong or not known:
                start = f"adversarial names {wrong[0]!r}, which is none: " if wrong else ""
                raise ArgumentError(f"{start}the latent sites of each row are {', '.join(map(repr, known)) or 'none'}.")
            self._names = tuple(self.sites or known)
        return self._names

    # --- what stands in place of the KL ---------------------------------------------------------------

    def _add(self, sides: ComparedSides, size: int) -> None:
        posterior, prior, known = sides.compared(self.contrast)
        if self.phase != "pair":
            self.loss = loss = self._told_apart(posterior.detach(), prior.detach(), sides.data)
            if self.phase == "both":
                _factor("_discriminator", -size * loss, None)
        if self.phase != "discriminator":
            score = self._score(posterior, sides.data, frozen=True).mean() + known
            _factor("_adversarial", -size * score, next(iter(sides.posterior)))

    def _told_apart(self, posterior: Tensor, prior: Tensor, data: tuple[Tensor, ...]) -> Tensor:
        # A pass for the discriminator alone has no gradients elsewhere.
        with torch.set_grad_enabled(torch.is_grad_enabled() or self.phase == "discriminator"):
            told = softplus(-self._score(posterior, data)) + softplus(self._score(prior, data))
            return told.mean()

    def _score(self, z: Tensor, data: tuple[Tensor, ...], *, frozen: bool = False) -> Tensor:
        held = {name: p.detach() if frozen else p for name, p in self.network.named_parameters()}
        score = torch.func.functional_call(self.network, held, (z, *data))
        if score.numel() != len(z):
            raise ArgumentError(
                f"adversarial: the discriminator gave {tuple(score.shape)} for {len(z)} rows; give one number a row."
            )
        return score.reshape(len(z))


def discriminators(pair: HasPair) -> list[Adversarial]:
    """Those around a pair, from outside."""
    return [layer for layer in wrappers(pair) if isinstance(layer, Adversarial)]


def _check(draw: Draw, plate: str) -> None:
    for reason, applies in {
        "is not drawn inside the data plate": not frame_of(draw._asdict(), plate),
        "has no pathwise gradient (has_rsample)": not draw.fn.has_rsample,
        "is drawn by vectorised particles; leave vectorize_particles out": frame_of(draw._asdict(), PARTICLES),
    }.items():
        if applies:
            raise ArgumentError(f"adversarial: a site {reason}. Name other sites: sites=[...].")


def _row_arguments(args: tuple, kwargs: Mapping[str, Any], rows: int | None) -> tuple[Tensor, ...]:
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    return tuple(value.nan_to_num() for value in given if value.dim() and len(value) == rows)


def _factor(name: str, value: Tensor, site: str | None) -> None:
    unit = dist.Unit(value, has_rsample=False)
    mark: Any = {INTERNAL: site}  # by the site's weight temper weights what stands in place of its KL
    pyro.sample(name, unit, obs=unit.sample(), infer=mark)


class _LeftOut(Messenger):
    """Leave log-probabilities out of the loss as temper does at 0, so that figures know of them; note the draws."""

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.names = names
        self.draws: dict[str, Draw] = {}
        self.data: list[tuple] = []

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.names and not site_is_subsample(msg):
            before = msg.get(TEMPERING, Tempering())
            if not before.dropped:
                msg[TEMPERING] = before._replace(dropped=True, mask=msg["mask"])
                msg["mask"] = False

    def _pyro_post_sample(self, msg) -> None:
        if is_data(msg):
            self.data.append(msg["cond_indep_stack"])
        elif msg["name"] in self.names:
            self.draws[msg["name"]] = Draw(msg["fn"], msg["value"], msg["scale"], None, msg["cond_indep_stack"])
