"""A discriminator in place of a KL or of a likelihood: guides, priors and whole models that need only be drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae.errors import ArgumentError
from pyrovae.objectives.compared_sides import ComparedSides
from pyrovae.objectives.discriminator_inputs import row_arguments, told_what_it_is_given
from pyrovae.objectives.figures import PARTICLES, data_size, holding_plate
from pyrovae.objectives.generated_sides import GeneratedSides, Program, check_program, covariates
from pyrovae.objectives.left_out import LeftOut
from pyrovae.objectives.particles import frame_of
from pyrovae.objectives.penalised import Draw, same_draw
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair, Side, Wrapped, wrappers
from pyrovae.pairs.registration import Registration
from pyrovae.pairs.structure import Structure, inspect
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
    r"""Put a discriminator in place of the KL of latent sites, or of the likelihood: no density is asked for.

    \[ \operatorname{KL}(q(z \mid x) \,\|\, p(z)) = \mathbb E_q\, T^*(x, z), \qquad T^* = \arg\min_T\;
    \mathbb E_q \operatorname{softplus}(-T) + \mathbb E_p \operatorname{softplus}(T) \]

    which is adversarial variational Bayes. With `aggregate=True` T sees z alone, so that \(\mathbb E_q T\) is the KL of
    the aggregate posterior from the prior: an adversarial autoencoder, whose prior need only be drawn from. Under `fit`
    the steps of T and of the pair alternate, and T is in every checkpoint; in an `SVI` loop of your own both move at
    once. A prior with a density is trained by it, as ever.

    With observed sites, T tells the model's own draws from data, and the model alone is trained, by
    \(\mathbb E_{p(x)} T^*(x) = \operatorname{KL}(p \,\|\, p_{\text{data}})\): latent sites are drawn from the prior, no
    likelihood is asked for (`dist.Delta` will do, or `pv.Implicit`), and the guide is left as it is; it may be empty.

    Args:
        pair: any pair with continuous latent sites of each row, `pv.Implicit` in the guide say; or, with observed
            sites, any model whose draws carry gradients.
        network: T. It takes the values of the sites, (rows, numbers), and unless `aggregate` the arguments of the
            model after them: `pv.MLP([2, 784], [256, 256], 1)`. Of observed sites these are the arguments that are not
            observed, if there are any.
        sites: which, latent or observed; left out, every continuous latent site of each row, and of a guide that draws
            none all observed ones.
        aggregate: whether the aggregate posterior is matched, and not each row's; of observed sites, whether T sees
            draws and data without the arguments beside them.
        rounds: steps of T before each step of the pair; 0: both in one step.
        contrast: of how many draws of each row the guide's mean and scale are found: T then tells the guide from a
            normal with these, and sees how many scales z lies from the mean. It has less to learn, and the rest of the
            KL is known. 0: it tells the guide from the prior.
        data_plate: the plate of the data, where several hold all observed sites and have the batch's length.

    Returns:
        A pair. `temper` weights what stands in place of the KL. Its ELBO is that of the guide's own densities, and NaN
        where it has none, or where the likelihood was left out: the evidence is never read from T.

    References:
        Mescheder et al., "Adversarial variational Bayes" (2017); Makhzani et al., "Adversarial autoencoders" (2015);
        Goodfellow et al., "Generative adversarial nets" (2014).

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
        self._target: ToldApart | None = None
        self._drawn: dict[str, Draw] | None = None

    def generates(self, args: tuple, kwargs: Mapping[str, Any]) -> bool:
        """Whether the model's own draws are told from data, and the guide is left as it is."""
        return self._target_on(args, kwargs).observed

    @contextmanager
    def turned(self, phase: Phase) -> Iterator[None]:
        """Passes for the pair alone, or for the discriminator alone."""
        self.phase = phase
        try:
            yield
        finally:
            self.phase, self.loss = "both", None

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The pair's guide, within `around`; nothing where the model's own draws are told from data."""
        if not self.generates(args, kwargs):
            return super().guide(*args, **kwargs)
        self._drawn = {}
        return None

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Leave the sites' densities out, and add what stands in their place to a model that runs after the guide."""
        drawn, self._drawn = self._drawn, None
        target = self._target_on(args, kwargs)
        if target.observed and drawn is None:
            yield  # the model by itself
            return
        with Program() if target.observed else LeftOut(target.names) as noted:
            yield
        if side == "guide":
            self._drawn = noted.draws
        elif drawn is not None and (target.observed or self._replayed(drawn, noted.draws)):
            self._registration(self.network)
            # Without gradients nothing is trained: figures never see it.
            if self.phase == "discriminator" or torch.is_grad_enabled():
                rows = batch_rows(args, kwargs)
                data = () if self.aggregate else row_arguments(args, kwargs, rows, target.arguments)
                sides = self._sides(drawn, noted, holding_plate(noted.data, rows, self.data_plate), data)
                self._add(sides, data_size(noted.data, rows, self.data_plate))

    @staticmethod
    def _sides(
        drawn: dict[str, Draw], noted: Program | LeftOut, plate: str | None, data: tuple[Tensor, ...]
    ) -> GeneratedSides | ComparedSides:
        for side in (drawn, noted.draws):
            for name, draw in side.items():  # the prior need only be drawn from
                _check(name, draw, str(plate), pathwise=side is drawn and isinstance(noted, LeftOut))
        if isinstance(noted, Program):
            return GeneratedSides(noted, str(plate), data)
        return ComparedSides(drawn, noted.draws, str(plate), data)

    @staticmethod
    def _replayed(drawn: Mapping[str, Draw], scored: Mapping[str, Draw]) -> bool:
        return all(name in scored and same_draw(drawn[name].value, scored[name].value) for name in drawn)

    def _target_on(self, args: tuple, kwargs: Mapping[str, Any]) -> ToldApart:
        if self._target is None:
            with torch.enable_grad():
                structure = inspect(self.pair, args, kwargs, data_plate=self.data_plate)
            target = target_of(structure, self.sites)
            if target.observed:
                check_program(structure, target.names, self.contrast)
                target = target._replace(arguments=covariates(self.pair, args, kwargs, structure.data_plate))
            self._target = target
        return self._target

    # --- what stands in place of the KL ---------------------------------------------------------------

    def _add(self, sides: GeneratedSides | ComparedSides, size: int) -> None:
        drawn, other, known = sides.compared(self.contrast)
        if self.phase != "pair":
            self.loss = loss = self._told_apart(drawn.detach(), other.detach(), sides.data)
            if self.phase == "both":
                _factor("_discriminator", -size * loss, None)
        if self.phase != "discriminator":
            score = self._score(drawn, sides.data, frozen=True).mean() + known
            _factor("_adversarial", -size * score, sides.site)

    def _told_apart(self, drawn: Tensor, other: Tensor, data: tuple[Tensor, ...]) -> Tensor:
        # A pass for the discriminator alone has no gradients elsewhere.
        with torch.set_grad_enabled(torch.is_grad_enabled() or self.phase == "discriminator"):
            told = softplus(-self._score(drawn, data)) + softplus(self._score(other, data))
            return told.mean()

    def _score(self, z: Tensor, data: tuple[Tensor, ...], *, frozen: bool = False) -> Tensor:
        held = {name: p.detach() if frozen else p for name, p in self.network.named_parameters()}
        with told_what_it_is_given(z, *data):
            score = torch.func.functional_call(self.network, held, (z, *data))
        if score.numel() != len(z):
            raise ArgumentError(
                f"adversarial: the discriminator gave {tuple(score.shape)} for {len(z)} rows; give one number a row."
            )
        return score.reshape(len(z))


class ToldApart(NamedTuple):
    """What a discriminator tells apart.

    Attributes:
        names: the sites.
        observed: whether these are observed: the model's draws are told from data.
        arguments: of the pair, which it sees beside them; None: all.
    """

    names: tuple[str, ...]
    observed: bool = False
    arguments: tuple[int | str, ...] | None = None


def target_of(structure: Structure, sites: Sequence[str] | None) -> ToldApart:
    """The sites that were named, or else the latent ones of each row; of a guide that draws none the observed ones."""
    latent = structure.local_latents()
    observed = structure.named("observed", local=True)
    names = list(sites or latent or observed)
    for known in (latent, observed):
        if names and set(names) <= set(known):
            return ToldApart(tuple(names), known is observed)
    wrong = [name for name in names if name not in (*latent, *observed)]
    start = f"adversarial names {wrong[0]!r}, which is none: " if wrong else "adversarial: "
    mixed = "" if wrong or not names else " Name sites of one kind."
    latents, data = (", ".join(map(repr, found)) or "none" for found in (latent, observed))
    raise ArgumentError(f"{start}the latent sites of each row are {latents}, the observed ones {data}.{mixed}")


def discriminators(pair: HasPair) -> list[Adversarial]:
    """Those around a pair, from outside."""
    return [layer for layer in wrappers(pair) if isinstance(layer, Adversarial)]


def _check(name: str, draw: Draw, plate: str, *, pathwise: bool) -> None:
    for reason, applies in {
        "is not drawn inside the data plate": not frame_of(draw._asdict(), plate),
        "is drawn by the guide without a pathwise gradient (has_rsample)": pathwise and not draw.fn.has_rsample,
        "is drawn by vectorised particles; leave vectorize_particles out": frame_of(draw._asdict(), PARTICLES),
    }.items():
        if applies:
            raise ArgumentError(f"adversarial: {name!r} {reason}. Name other sites: sites=[...].")


def _factor(name: str, value: Tensor, site: str | None) -> None:
    unit = dist.Unit(value, has_rsample=False)
    mark: Any = {INTERNAL: site}  # by the site's weight temper weights what stands in place of its KL
    pyro.sample(name, unit, obs=unit.sample(), infer=mark)
