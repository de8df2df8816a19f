"""To which cluster each row belongs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pyrovae.errors import ArgumentError, PairError
from pyrovae.pairs.classes import class_form
from pyrovae.pairs.numbers import check_count
from pyrovae.pairs.pair import HasPair
from pyrovae.pairs.turns import in_turn
from pyrovae.prediction.encode import encodings
from pyrovae.sampling.sampler import Sampler

_DRAWS = 100  # as in `encode`: probabilities are within 0.05 where they rest on draws


class Clusters(NamedTuple):
    """Memberships of rows.

    Attributes:
        probabilities: (rows, classes), each row of sum 1.
        labels: the likeliest class of each row, (rows,).
        sizes: how many rows each class is expected to have, (classes,): the sum of the probabilities.

    Examples:
        >>> import torch, pyrovae as pv
        >>> vae = pv.recipes.mixture_vae(5, latent=2, components=3)
        >>> pv.clusters(vae, torch.ones(4, 5)).probabilities.shape
        torch.Size([4, 3])
    """

    probabilities: torch.Tensor
    labels: torch.Tensor
    sizes: torch.Tensor


@in_turn
def clusters(
    pair: HasPair,
    /,
    *data: Any,
    site: str | None = None,
    draws: int = _DRAWS,
    seed: int | None = 0,
    data_plate: str | None = None,
    **named: Any,
) -> Clusters:
    r"""The class of each row by a pair that has a latent class for each: \( E_{q(z \mid x)}\, p(y \mid z, x) \).

    By the guide, as in `encode`: exact where its class probabilities rest on no draw; else a mean over draws,
    whose standard error is at most \( 1 / (2 \sqrt{draws}) \).

    Args:
        pair: any pair with a local latent site of one class a row (Categorical or one-hot), drawn or enumerated.
        *data: the arguments of model and guide, N rows.
        site: the site, where several are of classes.
        draws: how many.
        seed: of the draws.
        data_plate: the plate of the rows, where several plates follow their number.
        **named: keyword arguments of model and guide.

    Returns:
        A `Clusters`, on the CPU.

    Examples:
        >>> import torch, pyrovae as pv
        >>> truth = pv.truth.DiscreteMixture(torch.tensor([0.5, 0.5]), torch.tensor([[0.9], [0.1]]))
        >>> pv.clusters(truth, torch.tensor([[1.0], [0.0]])).labels
        tensor([0, 1])
    """
    draws = check_count("draws", draws)
    sampler = Sampler.of(pair, data, named, seed=seed, data_plate=data_plate)
    chosen = _site(sampler, site)
    probabilities = encodings(sampler, draws)[chosen].mean
    if probabilities.dim() != 2:
        raise PairError(
            f"site {chosen!r} has {tuple(probabilities.shape[1:-1])} classes a row; clusters are of one class a row. "
            f"See pv.encode(...)[{chosen!r}].mean for all of them."
        )
    return Clusters(probabilities, probabilities.argmax(-1), probabilities.sum(0))


def _site(sampler: Sampler, site: str | None) -> str:
    """The name of the one local latent site of classes, or of the one that was asked for."""
    local = [name for role in ("latent", "enumerated") for name in sampler.structure.named(role, local=True)]
    tile = next(sampler.tiles(1, "posterior"))
    found = [name for name in local if class_form(tile.runs[0].node(name, "model")["fn"]) is not None]
    if not found:
        raise PairError(
            "this pair has no latent class for each row, so no clusters: see pv.recipes.mixture_vae, or cluster "
            "pv.encode(pair, x)[...].mean by other means."
        )
    if site is None and len(found) > 1:
        raise ArgumentError(f"sites {', '.join(found)} are of classes; say which by site=.")
    if site is not None and site not in found:
        raise ArgumentError(f"site={site!r} is none of classes; those are {', '.join(found)}.")
    return site or found[0]
