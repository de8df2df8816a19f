"""A trained pair whose prior is reweighted to where its codes lie, by a classifier of codes against draws."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae.errors import ArgumentError, DataError, PairError, argument, warn_user
from pyrovae.evaluation.network_classifier import LogOdds, trained_log_odds
from pyrovae.evaluation.reweighted_distribution import ReweightedDistribution
from pyrovae.pairs.looks.isolation import forked_random
from pyrovae.pairs.numbers import as_number, check_count
from pyrovae.pairs.pair import HasPair, Side, Wrapped, wrappers
from pyrovae.pairs.seeds import chosen_seed, seed_for
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.readings import rows_first
from pyrovae.sampling.programs import cut
from pyrovae.sampling.sampler import Sampler

_LEAST = 10  # codes to learn from

_NOTHING = 1e-3  # nats a row that nobody needs another prior for

_HELD_OUT = 0.25  # of them, by which the gain is measured

_PIECE = 2**16  # draws for log Z at a time


class Reweighted(Wrapped):
    """A pair with a reweighted prior at one site; see `reweighted`.

    Attributes:
        site: which.
        log_z: log of the normalising constant.
        log_z_error: its standard error, which every evidence has in common.
        gain: how much the ELBO rises, in nats a row, on codes that were not learnt from.
        gain_error: its standard error.
        acceptance: the share of the former prior's draws that is kept.
    """

    def __init__(
        self, pair: HasPair, site: str, base: Any, factor: Factor, log_z: tuple[float, float], held_out: Tensor
    ):
        self.pair, self.site, self.base, self.factor = pair, site, base, factor
        self.log_z, self.log_z_error = log_z
        self.acceptance = math.exp(self.log_z - factor.most)
        with torch.no_grad():
            gains = factor(held_out).double() - self.log_z
        self.gain = float(gains.mean())
        self.gain_error = math.hypot(float(gains.std() / len(gains) ** 0.5), self.log_z_error)
        # A learned prior would move on, and leave Z behind.
        with torch.enable_grad():
            moves = base.log_prob(held_out[:1]).requires_grad
        if moves:
            self.why_not_trained = (
                f"the prior of {site!r} has parameters of its own, and was reweighted as it was then: trained on, its "
                "normalising constant would be that of another prior. Train the pair inside, and reweight it again."
            )

    @contextmanager
    def around(self, side: Side, args: tuple, kwargs: Mapping[str, Any]) -> Iterator[None]:
        """The model's site has the reweighted prior."""
        if side == "guide":
            yield
            return
        with _InPlaceOf(self):
            yield

    def __repr__(self) -> str:
        """Figures in words."""
        return (
            f"Reweighted: the prior of {self.site!r}; {self.gain:+.3f} ± {self.gain_error:.3f} nats a row, log Z "
            f"{self.log_z:.4f} ± {self.log_z_error:.4f}, {self.acceptance:.1%} of the former prior's draws are kept"
        )


class Factor(NamedTuple):
    r"""\( r(z) = m - \operatorname{softplus}(m - f(z)) \): the log odds f, bounded by m."""

    odds: LogOdds
    most: float
    events: int

    def __call__(self, value: Tensor) -> Tensor:
        """Of values (*batch, *event)."""
        flat = value.flatten(value.ndim - self.events) if self.events else value.unsqueeze(-1)
        return self.most - softplus(self.most - self.odds(flat.to(self.odds.middle)))


class _InPlaceOf(Messenger):
    """Put the reweighted distribution in the place of the site's own."""

    def __init__(self, pair: Reweighted):
        super().__init__()
        self.pair = pair

    def _pyro_sample(self, msg) -> None:
        if msg["name"] == self.pair.site:
            pair, batch = self.pair, msg["fn"].batch_shape
            msg["fn"] = ReweightedDistribution(pair.base, pair.factor, pair.log_z, pair.factor.most, batch)


@in_turn
def reweighted(
    pair: HasPair,
    /,
    *data: Any,
    site: str | None = None,
    most: float = 5.0,
    draws: int = 1_000_000,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Reweighted:
    r"""Reweight the prior of a trained pair to where the codes of data lie: fewer draws fall where no datum is.

    \[ p(z) = \frac{p_0(z)\, e^{r(z)}}{Z}, \qquad r \approx \log \frac{\mathbb E_x\, q(z \mid x)}{p_0(z)}, \qquad
    Z = \mathbb E_{p_0} e^{r(z)} \]

    r is learnt by a classifier of the guide's draws against those of the prior (noise-contrastive), bounded above, and
    the same for whoever asks afterwards. Whatever r is, the pair is a model with densities: its evidence holds
    \( -\log Z \), of which `log_z_error` is known; every question takes it, and draws are by rejection.

    The prior is that of the moment, and is not trained on: `fit` trains guide and likelihood under it.

    Args:
        pair: a trained pair with a continuous local latent site whose prior is the same for all rows.
        *data: what codes are made of: the data that it was trained on.
        site: the site; left out, the only one there is.
        most: what r never exceeds: draws take \( e^{\text{most}} / Z \) tries.
        draws: of the former prior, for Z.
        seed: of codes, classifier and Z; the same seed and data give the same prior again after `load`.
        data_plate: the plate whose length follows the data, where several do.
        **named: keyword arguments of the model.

    Returns:
        A pair.

    References:
        Aneja et al., "A contrastive learning approach for training variational autoencoder priors" (2021); Bauer and
        Mnih, "Resampled priors for variational autoencoders" (2019).

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.LinearGaussian(torch.eye(2, 1), torch.zeros(2), 0.5)
        >>> x = truth.sample(400, seed=0) * 0.3 + torch.tensor([2.0, 0.0])  # codes lie around 1.6, the prior around 0
        >>> better = pv.reweighted(truth, x)
        >>> better.gain > 0.3, bool(pv.elbo(better, x).value.mean() > pv.elbo(truth, x).value.mean())
        (True, True)
    """
    draws, seed, most = check_count("draws", draws), chosen_seed(seed), _bound(most)
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    name = _site(sampler, site)
    if any(isinstance(layer, Reweighted) and layer.site == name for layer in wrappers(pair)):
        raise PairError(
            f"reweighted: the prior of {name!r} is reweighted already. Reweight the pair inside it (.pair)."
        )
    base, codes = _prior(sampler, name), _codes(sampler, name)
    if len(codes) < _LEAST:
        raise DataError(f"{len(codes)} rows are too few to learn a prior from; give {_LEAST} at least.")
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    held = order[: round(_HELD_OUT * len(codes))]
    learnt = codes[order[len(held) :]]
    with forked_random(seed_for(seed, "prior")), torch.no_grad():
        others = base.sample(torch.Size([len(learnt)])).reshape(learnt.shape).cpu()
    kind = torch.cat([torch.ones(len(learnt)), torch.zeros(len(others))])
    odds = trained_log_odds(torch.cat([learnt, others]).flatten(1).float(), kind, seed_for(seed, "odds"))
    factor = Factor(odds.to(sampler.device), most, len(base.event_shape))
    log_z = _log_mean_of(base, factor, draws, seed_for(seed, "log_z"))
    found = Reweighted(pair, name, base, factor, log_z, codes[held].to(sampler.device))
    _tell(found)
    return found


def _tell(found: Reweighted) -> None:
    """Say where the new prior is no better."""
    if found.gain < 2 * found.gain_error + _NOTHING:
        warn_user(
            f"reweighted: on codes that it has not seen the new prior of {found.site!r} is worth {found.gain:+.3f} ± "
            f"{found.gain_error:.3f} nats a row: it is no better than the former one beyond chance. Give more rows, or "
            "leave the prior as it is."
        )


# --- what is learnt from ------------------------------------------------------------------------------
def _site(sampler: Sampler, site: str | None) -> str:
    known = sampler.structure.local_latents()
    if (site is None and len(known) == 1) or site in known:
        return site or known[0]
    found = ", ".join(map(repr, known)) or "none"
    wrong = argument("site", site) if site is not None else f"{argument('site')} is left out"
    raise ArgumentError(f"{wrong}; the latent sites of each row are {found}. Name one of them.")


def _prior(sampler: Sampler, site: str) -> Any:
    """The model's distribution of the site, of one row; refused where rows have others."""
    batch, _, _ = next(sampler.row_tiles())
    with torch.no_grad():
        runs = [sampler.single(batch, "posterior", draw=draw).node(site) for draw in range(2)]
        fn = copy.deepcopy(sampler.single(cut(batch, 1), "posterior").node(site)["fn"])
    value = runs[0]["value"]
    if not all(_same(fn, node["fn"], value) for node in runs):
        raise PairError(
            f"reweighted: the prior of {site!r} is not the same for all rows and draws (it depends on data, or on "
            "other sites), so that no one Z normalises it. Name a site whose prior is the same for all: the top one "
            "of a hierarchy."
        )
    if not fn.support.is_discrete and value.is_floating_point():
        return fn
    raise PairError(f"reweighted: {site!r} takes separate values; a prior over these is learnt as it is.")


def _same(one: Any, other: Any, value: Tensor) -> bool:
    """Whether a distribution of one row is that of all others, as far as their values show."""
    if one.batch_shape.numel() != 1 or one.event_shape != other.event_shape:
        return False
    return torch.allclose(one.log_prob(value).expand(other.batch_shape), other.log_prob(value), rtol=1e-5, atol=1e-5)


def _codes(sampler: Sampler, site: str) -> Tensor:
    """A draw of the guide for each row, (rows, *event)."""
    parts = []
    for tile in sampler.tiles(1, "guide"):
        value = tile.value(site, "guide")[0]
        parts.append(rows_first(value, sampler.layout.place(("guide", site)).axis).cpu())
    codes = torch.cat(parts)
    if not bool(codes.isfinite().all()):
        raise DataError(f"reweighted: draws of {site!r} are not finite.")
    return codes


def _log_mean_of(base: Any, factor: Factor, draws: int, seed: int) -> tuple[float, float]:
    """log of the mean of exp(r) over the base, and its standard error."""
    with forked_random(seed), torch.no_grad():
        sizes = [min(_PIECE, draws - start) for start in range(0, draws, _PIECE)]
        values = torch.cat([factor(base.sample(torch.Size([size]))).flatten().double().cpu() for size in sizes])
    shares = (values - factor.most).exp()
    error = float(shares.std() / shares.mean() / draws**0.5) if draws > 1 else math.inf
    return factor.most + float(shares.mean().log()), error


def _bound(most: Any) -> float:
    number = as_number(most)
    if number is None or not 0 < number <= 20:
        raise ArgumentError(f"{argument('most', most)}; give a number above 0, of 20 at most.")
    return number
